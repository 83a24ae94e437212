package fleettest

import (
	"testing"
)

// TestYesterday: the store answers with an older value of the same id. What
// a Cache can see in a value, it sees: that its lifetime is over, and that its
// key left the ring. A value that is good in itself is resumed: that there
// is a newer one is known to the store alone.
func TestYesterday(t *testing.T) {
	r := newParts(t, setup{}).rig // sessions live for two hours
	for _, x := range []struct {
		name    string
		rotated bool   // the newer value is under another key, and
		retired bool   // the older one's has left the ring
		made    string // when the older one was, beside the newer one
		counter string
	}{
		{"as good as the new one", false, false, "0s", "Lookups.Hit"},
		{"made before, its lifetime is not over", false, false, "-90m", "Lookups.Hit"},
		{"its lifetime is over", false, false, "-150m", "Lookups.Expired"},
		{"its key is not the newest", true, false, "0s", "Lookups.Hit"},
		{"its key left the ring", true, true, "0s", "Lookups.OtherKey"},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := r.at(t)
			r.ask("forget", nil)
			r.primeAll()
			if x.rotated {
				r.ask("rotate", nil)
			}
			renewed := 0
			r.ask("renew", &renewed)
			if renewed != offering*len(versions) {
				t.Fatalf("%d values were put again", renewed)
			}
			r.ask("lie yesterday "+x.made, nil)
			if x.retired { // not before the older value was made
				r.ask("retire", nil)
			}
			eachVersion(t, func(t *testing.T, version uint16) {
				r := r.at(t)
				before := r.state()
				resumed, _ := r.wave(version)
				want := moves{x.counter: offering, "Served.Resumed": resumed, "Served.Full": handshakes - resumed,
					"Puts.Stored": newPuts(version, resumed)}
				wantResumed := 0
				if x.counter == "Lookups.Hit" {
					wantResumed = offering
					want["Hits.Store"] = offering
				}
				if resumed != wantResumed {
					t.Errorf("%d resumed, want %d", resumed, wantResumed)
				}
				if n := r.counted(before, want).Store.Lies - before.Store.Lies; n != offering {
					t.Errorf("the store lied %d times", n)
				}
			})
			r.ask("lie", nil)
			for _, v := range versions { // the newer values were good all the time
				r.healthyWave(v)
			}
		})
	}
	r.bounded()
}

// TestUndead: sessions are removed, and the store brings them back. Nothing
// that a Cache can see tells them from others: they are resumed until their
// lifetime ends, or their key leaves the ring.
func TestUndead(t *testing.T) {
	p := newParts(t, setup{})
	r := p.rig
	eachVersion(t, func(t *testing.T, version uint16) {
		r := r.at(t)
		r.prime(version)
		before := r.state()
		removed := r.atOnce(version, r.offers[version], logOut)
		offers := r.offers[version]
		if version != versions[0] { // a resumption of TLS 1.3 has a session of its own, and that one was removed
			offers = nil
			for _, v := range removed {
				offers = append(offers, v.session)
			}
		}
		r.offers[version] = offers
		until(t, "all are deleted", func() bool {
			return r.state().since(before)["Removals.explicit.Deleted"] == offering
		})
		before = r.state()
		r.wave(version)
		r.counted(before, moves{"Lookups.Miss": offering, "Misses.Asked": offering, "Puts.Stored": handshakes, "Served.Full": handshakes})

		r.ask("lie yesterday 0s", nil)
		before = r.state()
		resumed, _ := r.wave(version)
		if resumed != offering {
			t.Errorf("%d resumed", resumed)
		}
		after := r.counted(before, moves{"Lookups.Hit": offering, "Hits.Store": offering,
			"Puts.Stored": newPuts(version, offering), "Served.Resumed": offering, "Served.Full": handshakes - offering})
		if n := after.Store.Lies - before.Store.Lies; n != offering {
			t.Errorf("the store lied %d times", n)
		}

		r.ask("rotate", nil)
		r.ask("retire", nil)
		before = r.state()
		r.wave(version)
		r.counted(before, moves{"Lookups.OtherKey": offering, "Puts.Stored": handshakes, "Served.Full": handshakes})
		r.ask("lie", nil)
		r.prime(version)
		r.healthyWave(version)
	})
	r.bounded()
}
