package fleettest

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/sessioncb/openssl/ssl"
)

// TestClocks: clocks that are an hour off. Three count: that of the server
// which made the session, the Cache's (CacheOptions.Now), and libssl's own,
// which is right here. The Cache goes by the end of a session's lifetime;
// package ssl looks at its beginning too, and tolerates five minutes.
func TestClocks(t *testing.T) {
	const hour, short, long = time.Hour, 30 * time.Minute, 2 * time.Hour
	r := newParts(t, setup{}).rig
	for _, x := range []struct {
		name                    string
		life                    time.Duration
		made                    time.Duration // how far the clock of the server is off that made the session
		storing, looking        time.Duration // and the Cache's, as it stores and looks up
		stored, lookup, handler string        // what is counted; of handler "" nothing
	}{
		{"all are right", short, 0, 0, 0, "Puts.Stored", "Lookups.Hit", ""},

		{"the Cache's is ahead as it looks up", long, 0, 0, hour, "Puts.Stored", "Lookups.Hit", ""},
		{"the same, and the session is over by it", short, 0, 0, hour, "Puts.Stored", "Lookups.Expired", ""},
		{"the Cache's is ahead as it stores", long, 0, hour, 0, "Puts.Stored", "Lookups.Hit", ""},
		{"the same, and the session is over by it", short, 0, hour, 0, "Puts.Skipped", "Lookups.Miss", ""},
		{"the Cache's is behind", short, 0, -hour, -hour, "Puts.Stored", "Lookups.Hit", ""},

		{"the session is from an hour ahead", long, hour, 0, 0, "Puts.Stored", "Lookups.Hit", "Handlers.Expired"},
		{"the same, as the Cache's is too", long, hour, hour, hour, "Puts.Stored", "Lookups.Hit", "Handlers.Expired"},
		{"from six minutes ahead", long, 6 * time.Minute, 0, 0, "Puts.Stored", "Lookups.Hit", "Handlers.Expired"},
		{"from four minutes ahead", long, 4 * time.Minute, 0, 0, "Puts.Stored", "Lookups.Hit", ""},
		{"from an hour behind", long, -hour, 0, 0, "Puts.Stored", "Lookups.Hit", ""},
		{"the same, and over", short, -hour, 0, 0, "Puts.Stored", "Lookups.Expired", ""},
		{"the same, and the Cache's is behind too", short, -hour, -hour, -hour, "Puts.Stored", "Lookups.Hit", "Handlers.Expired"},
	} {
		t.Run(fmt.Sprintf("%s, life %v", x.name, x.life), func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				r := r.at(t)
				r.ask(fmt.Sprint("lifetime ", x.life), nil)
				r.ask(fmt.Sprint("made ", x.made), nil)
				r.ask(fmt.Sprint("clock ", x.storing), nil)
				before := r.state()
				r.offers[version] = nil
				for _, v := range r.atOnce(version, make([]*ssl.Session, offering)) {
					r.offers[version] = append(r.offers[version], v.session)
				}
				r.counted(before, moves{x.stored: offering, "Served.Full": offering})

				// What the wave makes is as right as it can be.
				r.ask("made 0s", nil)
				r.ask(fmt.Sprint("lifetime ", 2*long), nil)
				r.ask(fmt.Sprint("clock ", x.looking), nil)
				before = r.state()
				resumed, _ := r.wave(version)
				wantResumed := 0
				want := moves{x.lookup: offering}
				switch {
				case x.lookup == "Lookups.Hit":
					want["Hits.Store"] = offering
					if wantResumed = offering; x.handler != "" {
						want[x.handler], wantResumed = offering, 0
					}
				case x.lookup == "Lookups.Miss":
					want["Misses.Asked"] = offering
				}
				want["Puts.Stored"] = newPuts(version, wantResumed)
				want["Served.Resumed"], want["Served.Full"] = wantResumed, handshakes-wantResumed
				if resumed != wantResumed {
					t.Errorf("%d resumed, want %d", resumed, wantResumed)
				}
				r.counted(before, want)
			})
		})
	}
	r.bounded()
}

// TestShiftTime: the time of a session is moved, and nothing else.
func TestShiftTime(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		c := newClient(t, version)
		ctx, err := memoryContext()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeContext(ctx) })
		v, err := c.visit(startServer(t, ctx).addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		der, err := v.session.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		moved, err := shiftTime(der, -time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssl.ParseSession(moved)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := v.session.Time().Sub(s.Time()); got != time.Hour {
			t.Errorf("moved by %v", got)
		}
		back, err := shiftTime(moved, time.Hour)
		if err != nil || !bytes.Equal(back, der) {
			t.Errorf("moved back it is not what it was: %v", err)
		}
	})
}
