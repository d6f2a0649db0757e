package dmipv6

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
	"kedge/signaling/ticket"
)

// A lease's record has its address as the key, of 16 octets, and holds:
//
//	version (1), 1 or 2 | flags (1) | bits of the prefix (1) | bits of the region (1) | sequence number (2) | lifetime in s (4)
//	sent, Unix ms (8) | DHP (16) | care-of address (16) | correspondent (16) | region (16) | since, Unix ms (8)
//	from version 2 on: number of endpoints of the DHP (1), each: address (16) | port (2)
//	over UDP: the endpoint that it was made by, as they are
//	with a ticket: SPI (4) | expiry, Unix s (8) | nonce (12) | sealed key (48)
//
// Keys are stored as the home agent sealed them.
const (
	recordVersion    = 2
	recordFixed      = 10 + 8 + 4*16 + 8
	recordTicket     = 4 + 8 + 12 + 48
	recordFlagHost   = 1
	recordFlagTicket = 2
	recordFlagUDP    = 4
	recordEndpoint   = 16 + 2
)

// save writes the lease if it has changed.
func (m *Machine) save(a *anchor) {
	if m.cfg.Store == nil || a.returning {
		return
	}
	record := appendRecord(a)
	if bytes.Equal(record, a.saved) {
		return
	}
	a.saved = record
	if err := m.cfg.Store.Save(a.address.AsSlice(), slices.Clone(record)); err != nil {
		m.report(signaling.Report{Kind: StoreFailed, Home: a.address, Detail: err.Error()})
	}
}

func (m *Machine) forget(a *anchor) {
	if m.cfg.Store == nil {
		return
	}
	if err := m.cfg.Store.Delete(a.address.AsSlice()); err != nil {
		m.report(signaling.Report{Kind: StoreFailed, Home: a.address, Detail: err.Error()})
	}
}

func appendRecord(a *anchor) []byte {
	r := a.machine.Registration()
	var flags byte
	if a.host {
		flags |= recordFlagHost
	}
	if r.Endpoint.IsValid() {
		flags |= recordFlagUDP
	}
	t := a.proxy.sealed
	if t != nil {
		flags |= recordFlagTicket
	}
	b := append(make([]byte, 0, recordFixed+1+(mh.MaxUDPEndpoints+1)*recordEndpoint+recordTicket), recordVersion, flags, byte(a.prefix.Bits()), byte(max(a.region.Bits(), 0)))
	b = binary.BigEndian.AppendUint16(b, r.Sequence)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Lifetime/time.Second))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Since.UnixMilli()))
	for _, x := range []netip.Addr{a.proxy.address, r.CareOf, a.near, a.region.Addr()} {
		w := netip.IPv6Unspecified().As16()
		if x.IsValid() {
			w = x.As16()
		}
		b = append(b, w[:]...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(a.since.UnixMilli()))
	endpoints := a.proxy.endpoints
	b = append(b, byte(len(endpoints)))
	for _, e := range endpoints {
		b = appendEndpoint(b, e)
	}
	if r.Endpoint.IsValid() {
		b = appendEndpoint(b, r.Endpoint)
	}
	if t != nil {
		b = binary.BigEndian.AppendUint32(b, t.SPI)
		b = binary.BigEndian.AppendUint64(b, uint64(t.Expiry.Unix()))
		b = append(append(b, t.Nonce[:]...), t.Sealed[:]...)
	}
	return b
}

func appendEndpoint(b []byte, e netip.AddrPort) []byte {
	w := e.Addr().As16()
	return binary.BigEndian.AppendUint16(append(b, w[:]...), e.Port())
}

// lease is a record as it was read.
type lease struct {
	address             netip.Addr
	prefix, region      netip.Prefix
	host                bool
	proxy, careOf, near netip.Addr
	sequence            uint16
	lifetime            time.Duration
	sent, since         time.Time
	// endpoints are the DHP's, and endpoint the one that it was made by; invalid natively.
	endpoints []netip.AddrPort
	endpoint  netip.AddrPort
	ticket    *mh.KeyTicket
}

var errRecord = errors.New("not a record of a lease")

func parseRecord(key, b []byte) (l lease, err error) {
	address, ok := netip.AddrFromSlice(key)
	if !ok || !mh.UnicastRoutable(address) || len(b) < recordFixed || b[0] != 1 && b[0] != recordVersion || b[2] > 128 || b[3] > 128 {
		return l, errRecord
	}
	at := func(i int) netip.Addr { return netip.AddrFrom16([16]byte(b[18+16*i:])) }
	l = lease{address: address, host: b[1]&recordFlagHost != 0, proxy: at(0), careOf: at(1).Unmap(), near: at(2),
		prefix: netip.PrefixFrom(address, int(b[2])), region: netip.PrefixFrom(at(3), int(b[3])),
		sequence: binary.BigEndian.Uint16(b[4:]), lifetime: time.Duration(binary.BigEndian.Uint32(b[6:])) * time.Second,
		sent: time.UnixMilli(int64(binary.BigEndian.Uint64(b[10:]))), since: time.UnixMilli(int64(binary.BigEndian.Uint64(b[82:])))}
	if !mh.UnicastRoutable(l.proxy) || l.lifetime <= 0 || l.lifetime > mh.MaxLifetime {
		return l, errRecord
	}
	version, flags := b[0], b[1]
	if b = b[recordFixed:]; version > 1 {
		if len(b) == 0 || b[0] > mh.MaxUDPEndpoints {
			return l, errRecord
		}
		n := int(b[0])
		if flags&recordFlagUDP != 0 {
			n++
		}
		if b = b[1:]; len(b) < n*recordEndpoint {
			return l, errRecord
		}
		for range n {
			e := netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), binary.BigEndian.Uint16(b[16:]))
			if b = b[recordEndpoint:]; !mh.UDPReachable(e) {
				return l, errRecord
			}
			l.endpoints = append(l.endpoints, e)
		}
		if flags&recordFlagUDP != 0 {
			l.endpoint, l.endpoints = l.endpoints[n-1], l.endpoints[:n-1]
		}
	}
	if flags&recordFlagTicket == 0 {
		if len(b) != 0 {
			return l, errRecord
		}
		return l, nil
	}
	if len(b) != recordTicket {
		return l, errRecord
	}
	l.ticket = &mh.KeyTicket{SPI: binary.BigEndian.Uint32(b), Expiry: time.Unix(int64(binary.BigEndian.Uint64(b[4:])), 0), Address: l.proxy}
	copy(l.ticket.Nonce[:], b[12:])
	copy(l.ticket.Sealed[:], b[24:])
	return l, nil
}

// Restore takes up the leases of the store that still hold, before the first event. What the effects of it bind waits for an
// attachment. The error joins those of the records that could not be taken up, and the store's own.
func (m *Machine) Restore(now time.Time) ([]signaling.Effect, error) {
	m.effects = nil
	var problems []error
	if m.cfg.Store != nil {
		var over [][]byte
		err := m.cfg.Store.Load(func(key, record []byte) error {
			l, err := parseRecord(key, record)
			if err == nil {
				err = m.restore(now, &l)
			}
			if err != nil {
				problems = append(problems, fmt.Errorf("lease %x: %w", key, err))
				over = append(over, slices.Clone(key))
			}
			return nil
		})
		for _, key := range over {
			err = errors.Join(err, m.cfg.Store.Delete(key))
		}
		problems = append(problems, err)
	}
	m.tick(now)
	return m.effects, errors.Join(problems...)
}

var errOver = errors.New("its time is over")

// restore takes up one lease. Its time is read off the wall clock once, and is no more than was granted even if that clock
// went back.
func (m *Machine) restore(now time.Time, l *lease) error {
	age := max(now.Round(0).Sub(l.sent), 0)
	switch {
	case age >= l.lifetime:
		return errOver
	case l.address == m.cfg.HomeAddress || m.anchorOf(l.address) != nil || m.live() >= m.cfg.MaxAnchors:
		return errRecord
	}
	p := m.proxy(l.proxy)
	if l.ticket != nil && p.sealed == nil && m.cfg.Association != nil {
		t, err := ticket.Open(m.cfg.Association.Key, l.ticket, m.id)
		if err != nil {
			return err
		}
		m.setTicket(p, t, l.ticket, now)
	}
	association := p.association(now)
	if association == nil {
		return errors.New("there is no association with its DHP")
	}
	a := &anchor{proxy: p, address: l.address, prefix: l.prefix.Masked(), host: l.host, near: l.near, region: l.region.Masked(),
		since: now.Add(l.since.Sub(now.Round(0))), idleAt: now.Add(m.cfg.IdleTime), restored: true}
	p.near = l.near
	if p.endpoints == nil {
		p.endpoints = l.endpoints
	}
	if err := m.begin(a, association); err != nil {
		return err
	}
	if l.careOf.IsGlobalUnicast() {
		a.judge.careOf = l.careOf
	}
	m.lastCareOf = a.judge.careOf
	m.anchors = append(m.anchors, a)
	m.counters.Restored++
	m.report(signaling.Report{Kind: DHoARestored, Home: a.address, Peer: p.address, Lifetime: l.lifetime - age, Sequence: l.sequence, Detail: purpose(a)})
	m.take(now, a, a.machine.Adopt(now, mobilenode.Registration{CareOf: l.careOf, Endpoint: l.endpoint, Since: now.Add(-age), Lifetime: l.lifetime, Sequence: l.sequence}, nil))
	return nil
}
