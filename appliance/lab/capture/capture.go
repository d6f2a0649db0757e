package capture

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"kedge/appliance/lab/space"
)

const (
	drainInterval = 50 * time.Millisecond
	// holdTime is how long packets wait to be put in order with those of other interfaces: longer than a ring keeps a
	// block back.
	holdTime = 3 * retireTime * time.Millisecond
	// rescanDrains is how many drains there are between looks for new interfaces.
	rescanDrains = 10
)

// Capture of one node, of every interface that it has or gets.
type Capture struct {
	node       *space.Namespace
	snapLength int
	limit      int64

	// Either a file or each gets the packets.
	file    *os.File
	buffer  *bufio.Writer
	out     *pcapng
	each    func(Packet)
	rings   map[int]*tap
	refused map[int]bool
	pending []captured
	stats   Statistics

	stop    chan struct{}
	running sync.WaitGroup
}

type tap struct {
	*ring
	name     string
	iface    uint32
	ethernet bool
}

// Statistics of a capture.
type Statistics struct {
	// Packets that are in the file, those Dropped by the kernel, and those Omitted because the file had reached its limit.
	Packets, Dropped, Omitted uint64
}

// Start captures until Stop. The file at path gets at most limit octets, and snapLength octets of each packet.
func Start(node *space.Namespace, path string, snapLength int, limit int64) (*Capture, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	c := &Capture{
		node:       node,
		snapLength: snapLength,
		limit:      limit,
		file:       f,
		buffer:     bufio.NewWriterSize(f, 256<<10),
		rings:      map[int]*tap{},
		refused:    map[int]bool{},
		stop:       make(chan struct{}),
	}
	c.out = newPcapng(c.buffer)
	if err := c.scan(); err != nil {
		f.Close()
		return nil, fmt.Errorf("capture on node %s: %w", node.Name, err)
	}
	c.running.Go(c.run)
	return c, nil
}

// Packet is a packet that a node has received on an interface, with its link-layer header if it has one.
type Packet struct {
	Interface string
	// Time is of the wall clock in nanoseconds.
	Time int64
	// Length is that of the packet, of which Data is the beginning.
	Length int
	Data   []byte
	// Sent says that it is one that the node has sent.
	Sent bool
	// Ethernet says that Data begins with an Ethernet header.
	Ethernet bool
}

// Watch hands each packet to a function until Stop, in order and one at a time, some tenth of a second late.
func Watch(node *space.Namespace, snapLength int, each func(Packet)) (*Capture, error) {
	c := &Capture{node: node, snapLength: snapLength, rings: map[int]*tap{}, refused: map[int]bool{}, stop: make(chan struct{}), each: each}
	if err := c.scan(); err != nil {
		return nil, fmt.Errorf("watching node %s: %w", node.Name, err)
	}
	c.running.Go(c.run)
	return c, nil
}

// Stop writes what is left and closes the file.
func (c *Capture) Stop() (Statistics, error) {
	close(c.stop)
	c.running.Wait()
	if c.each != nil {
		return c.stats, nil
	}
	err := c.out.err
	if flush := c.buffer.Flush(); err == nil {
		err = flush
	}
	if closed := c.file.Close(); err == nil {
		err = closed
	}
	return c.stats, err
}

func (c *Capture) run() {
	ticker := time.NewTicker(drainInterval)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
			if n%rescanDrains == 0 {
				// Interfaces that cannot be listed now are looked for again.
				_ = c.scan()
			}
			c.drain()
			c.write(time.Now().Add(-holdTime).UnixNano())
		case <-c.stop:
			time.Sleep(2 * retireTime * time.Millisecond)
			c.drain()
			c.write(1<<63 - 1)
			for _, t := range c.rings {
				c.close(t)
			}
			return
		}
	}
}

func (c *Capture) close(t *tap) {
	c.stats.Dropped += t.dropped()
	t.ring.close()
}

func (c *Capture) drain() {
	for _, t := range c.rings {
		c.pending = t.drain(t, c.pending)
	}
}

// write writes the packets up to a time, in order of time.
func (c *Capture) write(until int64) {
	slices.SortStableFunc(c.pending, func(a, b captured) int { return cmp.Compare(a.time, b.time) })
	n := 0
	for n < len(c.pending) && c.pending[n].time <= until {
		p := c.pending[n]
		n++
		if c.each != nil {
			c.stats.Packets++
			c.each(Packet{Interface: p.from.name, Time: p.time, Length: p.length, Data: p.data, Sent: p.sent, Ethernet: p.from.ethernet})
			continue
		}
		if c.out.written+int64(len(p.data))+64 > c.limit {
			c.stats.Omitted++
			continue
		}
		c.out.packet(p.from.iface, p.time, p.data, p.length)
		c.stats.Packets++
	}
	c.pending = append(c.pending[:0], c.pending[n:]...)
}

// scan opens rings for new interfaces and closes those of interfaces that are gone.
func (c *Capture) scan() error {
	links, err := c.node.Handle.LinkList()
	if err != nil {
		return err
	}
	present := map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		present[a.Index] = true
		if a.Name == "lo" || c.rings[a.Index] != nil || c.refused[a.Index] {
			continue
		}
		linkType := uint16(linkTypeRaw)
		if a.EncapType == "ether" {
			linkType = linkTypeEthernet
		}
		r, err := openRing(c.node, a.Index, c.snapLength)
		if err != nil {
			// An interface that went away meanwhile or cannot be captured; the others still are.
			c.refused[a.Index] = true
			continue
		}
		t := &tap{ring: r, name: a.Name, ethernet: linkType == linkTypeEthernet}
		if c.out != nil {
			t.iface = c.out.addInterface(a.Name, linkType, c.snapLength)
		}
		c.rings[a.Index] = t
	}
	for index, t := range c.rings {
		if !present[index] {
			c.pending = t.drain(t, c.pending)
			c.close(t)
			delete(c.rings, index)
		}
	}
	return nil
}
