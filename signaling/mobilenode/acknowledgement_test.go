package mobilenode

import (
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

func TestRFC6275_11_7_3_SequenceMustMatch(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(attachment(careOfA)))
	if out := b.do(b.answer(send, bu, func(ba *mh.BindingAcknowledgement) { ba.Sequence++ })); len(out) != 0 {
		t.Errorf("effects:\n%s", out)
	}
	if c := b.m.Status(b.now).Counters; c.Unmatched != 1 {
		t.Errorf("counters %+v", c)
	}
	b.do(b.answer(send, bu))
	b.wantState(StateRegistered)
	if out := b.do(b.answer(send, bu)); len(out) != 0 {
		t.Errorf("a second acknowledgement:\n%s", out)
	}
}

func TestLateAcknowledgementOfAnEarlierTransmission(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(attachment(careOfA)))
	b.now = b.now.Add(1500 * time.Millisecond)
	b.update(b.do(signaling.Tick{}))
	b.now = b.now.Add(100 * time.Millisecond)
	b.do(b.answer(send, bu))
	b.wantState(StateRegistered)
	if s := b.m.Status(b.now); s.Remaining != 58400*time.Millisecond {
		t.Errorf("%v left, counted from the wrong transmission", s.Remaining)
	}
}

func TestRFC4285_5_UnauthenticAcknowledgementIsIgnored(t *testing.T) {
	wrong := association
	wrong.Key = auth.Key("another secret of 32 octets ....")
	for name, spoil := range map[string]func(b *bench, send signaling.Send, bu *mh.BindingUpdate) []byte{
		"no option": func(b *bench, _ signaling.Send, bu *mh.BindingUpdate) []byte {
			p, _ := mh.Append(nil, &mh.BindingAcknowledgement{Sequence: bu.Sequence, Lifetime: bu.Lifetime})
			return p
		},
		"another key": func(b *bench, _ signaling.Send, bu *mh.BindingUpdate) []byte {
			stamp, _ := auth.Timestamp(bu.Options)
			p, _ := auth.Sign(&mh.BindingAcknowledgement{Sequence: bu.Sequence, Lifetime: bu.Lifetime}, wrong, careOfA, home, stamp)
			return p
		},
		"another care-of address": func(b *bench, _ signaling.Send, bu *mh.BindingUpdate) []byte {
			stamp, _ := auth.Timestamp(bu.Options)
			p, _ := auth.Sign(&mh.BindingAcknowledgement{Sequence: bu.Sequence, Lifetime: bu.Lifetime}, association, careOfB, home, stamp)
			return p
		},
		"no timestamp": func(b *bench, _ signaling.Send, bu *mh.BindingUpdate) []byte {
			p, _ := auth.Sign(&mh.BindingAcknowledgement{Sequence: bu.Sequence, Lifetime: bu.Lifetime}, association, careOfA, home, 0)
			return p
		},
	} {
		b := newBench(t)
		send, bu := b.update(b.do(attachment(careOfA)))
		payload := spoil(b, send, bu)
		mh.SetChecksum(payload, agent, home)
		out := b.do(signaling.Received{Source: agent, Destination: careOfA, RoutingHome: home, Payload: payload})
		if !slices.Equal(out.kinds(), []signaling.ReportKind{BindingAcknowledgementIgnored}) || len(out) != 1 {
			t.Errorf("%s:\n%s", name, out)
		}
		b.wantState(StateRegistering)
		if b.m.Status(b.now).LastError == "" {
			t.Errorf("%s: no error in the status", name)
		}
	}
}

func TestRFC4285_6_TimestampMustMatch(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(attachment(careOfA)))
	out := b.do(b.answer(send, bu, func(ba *mh.BindingAcknowledgement) {
		stamp, _ := auth.Timestamp(bu.Options)
		ba.Options = append(ba.Options, &mh.ReplayProtection{Timestamp: stamp + 1})
	}))
	if len(out) != 0 {
		t.Errorf("effects:\n%s", out)
	}
}

func TestAcknowledgementsFromElsewhereAndSpoilt(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(attachment(careOfA)))
	good := b.answer(send, bu)
	for name, change := range map[string]func(*signaling.Received){
		"another source":    func(r *signaling.Received) { r.Source = careOfB },
		"no routing header": func(r *signaling.Received) { r.RoutingHome = careOfA },
		"home address":      func(r *signaling.Received) { r.HomeAddress = agent },
		"cut short":         func(r *signaling.Received) { r.Payload = r.Payload[:len(r.Payload)-1] },
		"empty":             func(r *signaling.Received) { r.Payload = nil },
		"checksum":          func(r *signaling.Received) { r.Payload = slices.Clone(r.Payload); r.Payload[5]++ },
	} {
		r := good
		change(&r)
		if out := b.do(r); len(out) != 0 {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	b.do(good)
	b.wantState(StateRegistered)
}

func TestRFC6275_11_7_3_Status135AdoptsTheNumberAndResends(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(attachment(careOfA)))
	b.now = b.now.Add(20 * time.Millisecond)
	out := b.do(b.answer(send, bu, status(mh.StatusSequenceOutOfWindow), func(ba *mh.BindingAcknowledgement) { ba.Sequence = 4711 }))
	send, bu = b.update(out)
	if bu.Sequence != 4712 {
		t.Errorf("sequence %d, want 4712", bu.Sequence)
	}
	b.do(b.answer(send, bu))
	b.wantState(StateRegistered)
}

func TestStatus135ThatAnswersAnOlderUpdateIsIgnored(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(attachment(careOfA)))
	b.now = b.now.Add(1500 * time.Millisecond)
	b.update(b.do(signaling.Tick{}))
	// The network doubled the first update: the home agent accepted one and refuses the other.
	if out := b.do(b.answer(send, bu, status(mh.StatusSequenceOutOfWindow))); len(out) != 0 {
		t.Errorf("effects:\n%s", out)
	}
}

func TestStatus135WithoutEndIsLeftToTheBackOff(t *testing.T) {
	b := newBench(t)
	all := b.do(attachment(careOfA))
	n, seq := 0, uint16(100)
	for b.now.Sub(b.start) < time.Minute {
		if len(all.sends()) > 0 {
			n++
			send, bu := b.update(all)
			seq += 1000
			all = b.do(b.answer(send, bu, status(mh.StatusSequenceOutOfWindow), func(ba *mh.BindingAcknowledgement) { ba.Sequence = seq }))
			continue
		}
		b.now = b.m.Next()
		all = b.do(signaling.Tick{})
	}
	// Once, three times at once, and then 1.5 s doubling.
	if n > 10 {
		t.Errorf("%d updates in a minute", n)
	}
}

func TestRFC4285_6_Status144AdjustsTheClock(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(attachment(careOfA)))
	ahead := b.now.Add(3 * time.Hour)
	mine, _ := auth.Timestamp(bu.Options)
	b.now = b.now.Add(20 * time.Millisecond)
	out := b.do(b.answer(send, bu, status(mh.StatusIDMismatch), func(ba *mh.BindingAcknowledgement) {
		ba.Options = append(ba.Options, &mh.ReplayProtection{Timestamp: auth.MismatchReply(mine, ahead)})
	}))
	if !slices.Contains(out.kinds(), ClockAdjusted) {
		t.Errorf("reports %v", out.kinds())
	}
	send, bu = b.update(out)
	stamp, _ := auth.Timestamp(bu.Options)
	if off := stamp.Time().Sub(ahead).Abs(); off > 2*time.Second {
		t.Errorf("timestamp is %v off the home agent's clock", off)
	}
	b.do(b.answer(send, bu))
	b.wantState(StateRegistered)
}

func TestRefusalIsReportedAndBacksOffLong(t *testing.T) {
	for _, c := range []struct {
		status mh.Status
		waits  []time.Duration
	}{
		{mh.StatusAdministrativelyProhibited, []time.Duration{30 * time.Second, 60 * time.Second, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute}},
		{mh.StatusNotHomeSubnet, []time.Duration{30 * time.Second, 60 * time.Second}},
		{mh.StatusNotHomeAgent, []time.Duration{30 * time.Second, 60 * time.Second}},
		{mh.StatusHomeRegistrationNotSupported, []time.Duration{30 * time.Second}},
		{mh.StatusInsufficientResources, []time.Duration{30 * time.Second}},
		{mh.StatusDuplicateAddress, []time.Duration{10 * time.Minute, 10 * time.Minute}},
		{mh.StatusAuthenticationFailure, []time.Duration{10 * time.Minute}},
		{mh.StatusMessageIDRequired, []time.Duration{30 * time.Second}},
		{200, []time.Duration{30 * time.Second}},
	} {
		b := newBench(t)
		all := b.do(attachment(careOfA))
		for _, want := range c.waits {
			send, bu := b.update(all)
			out := b.do(b.answer(send, bu, status(c.status)))
			if reports := of[signaling.Report](out); len(reports) != 2 || reports[1].Kind != BindingRefused || reports[1].Status != uint8(c.status) || reports[1].Detail == "" {
				t.Fatalf("%v: reports %+v", c.status, reports)
			}
			b.wantState(StateRefused)
			if d := b.m.Next().Sub(b.now); d != want {
				t.Fatalf("%v: asks again after %v, want %v", c.status, d, want)
			}
			// Moving does not make it ask sooner.
			if out := b.do(attachment(careOfB)); len(out.sends()) != 0 {
				t.Errorf("%v: asks again on a move", c.status)
			}
			b.do(attachment(careOfA))
			b.now = b.m.Next()
			all = b.do(signaling.Tick{})
		}
		send, bu := b.update(all)
		b.do(b.answer(send, bu))
		b.wantState(StateRegistered)
		if s := b.m.Status(b.now); s.LastError != "" {
			t.Errorf("%v: error %q after success", c.status, s.LastError)
		}
	}
}

func TestRefusedRefreshUnbinds(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.now = b.m.Next()
	send, bu := b.update(b.do(signaling.Tick{}))
	if out := b.do(b.answer(send, bu, status(mh.StatusAdministrativelyProhibited))); index[signaling.Unbind](out) < 0 {
		t.Errorf("effects:\n%s", out)
	}
}

func TestAcceptedForNoTimeIsARefusal(t *testing.T) {
	b := newBench(t)
	out := b.register(careOfA, func(ba *mh.BindingAcknowledgement) { ba.Lifetime = 0 })
	if index[signaling.Bind](out) >= 0 {
		t.Error("bound")
	}
	b.wantState(StateRefused)
}

func TestStatus1IsAccepted(t *testing.T) {
	b := newBench(t)
	b.register(careOfA, status(mh.StatusPrefixDiscoveryNecessary))
	b.wantState(StateRegistered)
}
