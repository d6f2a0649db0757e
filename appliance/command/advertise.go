package command

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kedge/appliance/lab/advertise"
	"kedge/appliance/lab/space"
	"kedge/netstack/kernel"
)

// automatic in place of an interface's name means the interface whose kernel address is in the advertised prefix: names
// in containers depend on the order in which networks were attached.
const automatic = "auto"

// lookAgain is how often an interface that is absent is looked for, and one that is there is checked.
const lookAgain = 250 * time.Millisecond

func advertiseCommand() *cobra.Command {
	var policy string
	var lifetime, valid, preferred time.Duration
	c := &cobra.Command{
		Use:   "advertise INTERFACE=PREFIX[,PREFIX...]...",
		Short: "Send router advertisements, for access routers of a test network",
		Long: `Send router advertisements on interfaces of a host that forwards, and answer router solicitations, until
SIGINT or SIGTERM. The interface may be called auto: then it is the one that has an address in the first prefix.
Interfaces that do not exist yet are waited for, also when they vanish.

Policy fast advertises every 30 to 70 ms, which RFC 6275 section 7.5 allows access routers of mobile nodes, and answers
solicitations at once; rfc4861 keeps to the defaults of RFC 4861.`,
		Example: "  kedge advertise eth1=2001:db8:1::/64\n  kedge advertise --policy rfc4861 auto=2001:db8:1::/64 auto=2001:db8:2::/64",
		Args:    cobra.MinimumNArgs(1),
	}
	c.Flags().StringVar(&policy, "policy", "fast", "how often to advertise, fast or rfc4861")
	c.Flags().DurationVar(&lifetime, "lifetime", 30*time.Minute, "router lifetime, at most 2h30m")
	c.Flags().DurationVar(&valid, "valid", 24*time.Hour, "valid lifetime of prefixes")
	c.Flags().DurationVar(&preferred, "preferred", 4*time.Hour, "preferred lifetime of prefixes")
	c.RunE = func(c *cobra.Command, arguments []string) error {
		r := advertise.Router{RouterLifetime: lifetime, Valid: valid, Preferred: preferred}
		switch policy {
		case "fast":
			r.Policy = advertise.Fast
		case "rfc4861":
			r.Policy = advertise.RFC4861
		default:
			return fmt.Errorf("--policy: expected fast or rfc4861, found %q", policy)
		}
		// The field has 16 bits of seconds, of which RFC 4861 section 6.2.1 allows 9000.
		if lifetime < 0 || lifetime > 9000*time.Second {
			return fmt.Errorf("--lifetime: expected 0s to 2h30m, found %v", lifetime)
		}
		if preferred < 0 || valid < preferred {
			return fmt.Errorf("--preferred: expected 0s to the valid lifetime of %v, found %v", valid, preferred)
		}
		var advertisers []*advertiser
		for _, argument := range arguments {
			a, err := parseAdvertiser(argument, r)
			if err != nil {
				return err
			}
			a.log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil)).With("interface", a.name, "prefixes", fmt.Sprint(a.router.Prefixes))
			advertisers = append(advertisers, a)
		}
		here, err := space.Here("this host")
		if err != nil {
			return err
		}
		defer here.Close()
		var group sync.WaitGroup
		for _, a := range advertisers {
			group.Go(func() { a.run(c.Context(), here) })
		}
		group.Wait()
		return nil
	}
	return c
}

// advertiser keeps advertising on an interface that may come and go.
type advertiser struct {
	// name is the interface's, or automatic.
	name   string
	router advertise.Router
	log    *slog.Logger
}

func parseAdvertiser(argument string, r advertise.Router) (*advertiser, error) {
	name, list, ok := strings.Cut(argument, "=")
	if !ok || name == "" {
		return nil, fmt.Errorf("expected INTERFACE=PREFIX, such as eth1=2001:db8:1::/64 or auto=2001:db8:1::/64, found %q", argument)
	}
	a := &advertiser{name: name, router: r}
	for s := range strings.SplitSeq(list, ",") {
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is6() || p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() {
			return nil, fmt.Errorf("%s: expected an IPv6 prefix such as 2001:db8:1::/64, found %q", name, s)
		}
		a.router.Prefixes = append(a.router.Prefixes, p.Masked())
	}
	return a, nil
}

// run advertises whenever the interface is there, until ctx ends.
func (a *advertiser) run(ctx context.Context, here *space.Namespace) {
	var index int
	var said string
	for ; ctx.Err() == nil; pause(ctx, lookAgain) {
		i, found := a.find()
		if !found {
			if index != 0 || said == "" {
				a.log.Info("waiting for the interface")
			}
			index, said = 0, "waiting"
			continue
		}
		if i.Index != index {
			index, said = i.Index, ""
			a.log.Info("advertising", "on", i.Name)
			if kernel.ExamineForwarding(i.Name).State == kernel.Absent {
				a.log.Warn("this host does not forward IPv6: a router is advertised that is none", "remedy", "sysctl -w net.ipv6.conf.all.forwarding=1")
			}
		}
		running, stop := context.WithCancel(ctx)
		go a.stopWhenGone(running, stop, i)
		err := advertise.Run(running, here, i.Name, a.router, rand.Uint64())
		stop()
		if err != nil && err.Error() != said {
			// A new interface may have no link-local address for a moment.
			a.log.Info("not yet", "error", err)
			said = err.Error()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// stopWhenGone calls stop when the interface is no longer what it was.
func (a *advertiser) stopWhenGone(ctx context.Context, stop func(), was net.Interface) {
	for ctx.Err() == nil {
		pause(ctx, lookAgain)
		if now, found := a.find(); !found || now.Index != was.Index || now.Name != was.Name || now.HardwareAddr.String() != was.HardwareAddr.String() {
			stop()
			return
		}
	}
}

// find looks for the interface.
func (a *advertiser) find() (net.Interface, bool) {
	if a.name != automatic {
		i, err := net.InterfaceByName(a.name)
		if err != nil {
			return net.Interface{}, false
		}
		return *i, true
	}
	list, err := net.Interfaces()
	if err != nil {
		return net.Interface{}, false
	}
	for _, i := range list {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, address := range addresses {
			if p, err := netip.ParsePrefix(address.String()); err == nil && a.router.Prefixes[0].Contains(p.Addr()) {
				return i, true
			}
		}
	}
	return net.Interface{}, false
}
