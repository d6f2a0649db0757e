package homeagent

import (
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// "The home agent MUST still retain the registration for the Lifetime period, even if the mobile node does not refresh its
// registration within the Refresh period."
func TestRFC6275_10_3_1_BindingOutlivesTheRefreshInterval(t *testing.T) {
	w := start(t, func(c *Config) { c.RefreshAdvice = 12 * time.Second })
	w.accept(bu(plain, 1))
	w.after(59 * time.Second).tick()
	w.bound(plain, careOf1, time.Second)
}

// "Binding Cache entries marked as a home registration ... MUST NOT be removed from the Binding Cache until the expiration of
// the Lifetime period."
func TestRFC6275_10_3_1_HomeRegistrationsAreNotReplaced(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxBindings = 1 })
	w.accept(bu(plain, 1))
	w.send(bu(router, 1)).status(t, 130)
	w.bound(plain, careOf1, time.Minute)
	w.bound(router, nowhere, 0)
}

// Section 9.3.4 has correspondent nodes delete a binding on persistent ICMPv6 errors, which section 10.3.1 forbids here.
func TestRFC6275_10_3_1_ICMPErrorsDoNotEndABinding(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1))
	for range 100 {
		w.handle(signaling.ReceivedICMP{Source: careOf1, Destination: agent, Payload: append([]byte{1, 3, 0, 0, 0, 0, 0, 0}, make([]byte, 80)...)})
	}
	w.bound(plain, careOf1, time.Minute)
}

// A local mobility anchor that does not know flag D must not process the Proxy Binding Update and must return an error.
func TestRFC8885_4_1_DistributedRegistrationIsRefused(t *testing.T) {
	w := start(t)
	w.send(bu(plain, 1, flags(func(u *mh.BindingUpdate) { u.ProxyRegistration, u.Distributed = true, true }))).status(t, 152)
	w.bound(plain, nowhere, 0)
}
