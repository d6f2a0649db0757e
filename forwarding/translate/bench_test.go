package translate

import (
	"testing"

	"kedge/forwarding/ip6"
)

func BenchmarkSource(b *testing.B) {
	n := tcp(testRandom(), 1200).finish(home, peer)
	p, h := make1(b, ipv6(home, peer, extensions{next: ip6.TCP}, n.b))
	for i := 0; b.Loop(); i++ {
		to := lent
		if i&1 == 1 {
			to = home
		}
		if !Source(p, h, to) {
			b.Fatal("not translated")
		}
	}
}

func BenchmarkTranslatable(b *testing.B) {
	p, h := make1(b, ipv6(home, peer, extensions{next: ip6.TCP}, tcp(testRandom(), 1200).b))
	for b.Loop() {
		if !Translatable(h, p.Bytes()) {
			b.Fatal("not translatable")
		}
	}
}

func BenchmarkErrorInbound(b *testing.B) {
	n := tcp(testRandom(), 1200).finish(lent, peer)
	p, h := errorAbout(b, peer, lent, ipv6(lent, peer, extensions{next: ip6.TCP}, n.b))
	for i := 0; b.Loop(); i++ {
		to := home
		if i&1 == 1 {
			to = lent
		}
		if _, ok := Embedded(p, h); !ok || !ErrorInbound(p, h, to) {
			b.Fatal("not translated")
		}
	}
}

func BenchmarkFragments(b *testing.B) {
	f := NewFragments(4096)
	for i := uint32(0); b.Loop(); i++ {
		k := FragmentKey{home, peer, i}
		f.Put(1, k, 1)
		if _, ok := f.Get(1, k); !ok {
			b.Fatal("lost")
		}
	}
}
