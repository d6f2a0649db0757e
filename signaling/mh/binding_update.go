package mh

import "time"

// BindingUpdate is RFC 6275 section 6.1.7, with the flags of RFC 3963 (R), RFC 4140 (M), RFC 5213 (P), RFC 5555 (F, T),
// RFC 5648 (O), RFC 8885 (D).
type BindingUpdate struct {
	Sequence uint16
	// Acknowledge (A), HomeRegistration (H), LinkLocal (L), KeyManagement (K).
	Acknowledge, HomeRegistration, LinkLocal, KeyManagement bool
	MAP, MobileRouter, ProxyRegistration                    bool
	ForceUDP, TLVHeader, BulkUpdate, Overwrite, Distributed bool
	// Lifetime is what is asked for, 0 to 262,140 s in whole units of 4 s (rounded down when written).
	Lifetime time.Duration
	Options  Options
}

// BindingAcknowledgement is RFC 6275 section 6.1.8, with the flags that go with those of BindingUpdate.
type BindingAcknowledgement struct {
	Status                                                          Status
	KeyManagement, MobileRouter, ProxyRegistration, TLVHeader, Bulk bool
	Distributed                                                     bool
	Sequence                                                        uint16
	// Lifetime is what is granted, in whole units of 4 s (rounded down when written).
	Lifetime time.Duration
	Options  Options
}
