package node

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"
	"unicode"

	"kedge/appliance/control"
	"kedge/forwarding"
	"kedge/netstack/seg6"
)

// Trace implements control.Node.
func (n *Node) Trace() *control.Trace { return n.trace }

// Status implements control.Node.
func (n *Node) Status(ctx context.Context) (s control.Status, err error) {
	err = n.loop.call(ctx, func(now time.Time) { s = n.status(now) })
	return s, err
}

func (n *Node) status(now time.Time) control.Status {
	s := control.Status{Version: Version(), Started: n.started, Links: []control.Link{}, Counters: map[string]uint64{}}
	for _, r := range n.cfg.Roles {
		s.Roles = append(s.Roles, string(r))
	}
	counters := n.engine.Counters()
	for c, value := range counters {
		s.Counters["forwarding-"+forwarding.Counter(c).String()] = value
	}
	s.Counters["signalling-queue-full"] = n.loop.Refused.Load()
	s.Reason = n.role.show(now, &s)
	if n.flows != nil {
		n.flows.status(now, &s)
	}
	if n.device != nil {
		s.Links = append(s.Links, control.Link{Name: n.device.cfg.Name, Kind: "tun", Up: n.ports.get(n.device.id) != nil, MTU: n.device.cfg.MTU})
	}
	for _, l := range n.links {
		s.Links = append(s.Links, l.show())
		addCounters(s.Counters, "link-"+l.cfg.Interface, l.movement.Counters())
		if l.table != nil {
			addCounters(s.Counters, "link-"+l.cfg.Interface+"-neighbors", l.table.Counters())
		}
		addCounters(s.Counters, "link-"+l.cfg.Interface, l.eth.Counters())
		if !l.up && s.Reason == "" && n.cfg.MobileNode == nil {
			s.Reason = "link " + l.cfg.Interface + " is down"
		}
	}
	for _, l := range n.accessLinks {
		s.Links = append(s.Links, l.show())
		if l.table != nil {
			addCounters(s.Counters, "link-"+l.cfg.Interface+"-access", l.table.Counters())
		}
		addCounters(s.Counters, "link-"+l.cfg.Interface, l.eth.Counters())
	}
	if a := n.accelerator; a != nil && a.device != nil {
		s.Links = append(s.Links, control.Link{Name: seg6.DefaultName, Kind: "seg6", Up: a.path.Local.IsValid(), MTU: a.device.Link().MTU()})
		s.Counters["link-"+seg6.DefaultName+"-unrouted"] = a.device.Link().Unrouted()
	}
	for _, d := range n.datagrams {
		s.Links = append(s.Links, d.show())
		addCounters(s.Counters, "link-"+d.name(), d.link.Counters())
	}
	s.Healthy = s.Reason == ""
	return s
}

// Bindings implements control.Node.
func (n *Node) Bindings(ctx context.Context) (b []control.Binding, err error) {
	err = n.loop.call(ctx, func(now time.Time) { b = n.role.bindings(now) })
	return b, err
}

// RemoveBinding implements control.Node.
func (n *Node) RemoveBinding(ctx context.Context, home netip.Addr) (removed bool, err error) {
	err = n.loop.call(ctx, func(now time.Time) {
		effects, ok := n.role.removeBinding(now, home)
		removed = ok
		n.carryOutAll(now, effects)
	})
	return removed, err
}

// addCounters adds the counters of a struct to a map: UpdatesSent of "mobile-node" becomes mobile-node-updates-sent.
func addCounters(into map[string]uint64, prefix string, counters any) {
	v := reflect.ValueOf(counters)
	switch v.Kind() {
	case reflect.Uint64:
		into[prefix] = v.Uint()
	case reflect.Struct:
		for i := range v.NumField() {
			addCounters(into, prefix+"-"+kebab(v.Type().Field(i).Name), v.Field(i).Interface())
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			// The words of keys are not of Go's making: MIPV6-AUTH-FAIL.
			words := strings.NewReplacer(" ", "-", "_", "-").Replace(fmt.Sprint(k))
			into[prefix+"-"+strings.ToLower(words)] = v.MapIndex(k).Uint()
		}
	}
}

// kebab writes NotIPv6 as not-ipv6 and NoDHPKnown as no-dhp-known.
func kebab(name string) string {
	runes := []rune(strings.ReplaceAll(name, "IPv", "Ipv"))
	var b strings.Builder
	for i, c := range runes {
		if unicode.IsUpper(c) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
