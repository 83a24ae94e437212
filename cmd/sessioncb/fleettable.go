package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
)

// fleetTable prints a line as soon as it is known.
type fleetTable struct {
	w      io.Writer
	failed int   // lines that are not as expected
	err    error // of the first write that failed
}

func (t *fleetTable) row(cells ...any) {
	if _, err := fmt.Fprintf(t.w, "%-40s %-8s %-22s %-34s %s\n", cells...); t.err == nil {
		t.err = err
	}
}

func (t *fleetTable) header() { t.row("STEP", "VERSION", "EXPECTED", "SEEN", "OK") }

// judged prints a line that is as expected if ok.
func (t *fleetTable) judged(step, version, expected, seen string, ok bool) {
	verdict := "yes"
	if !ok {
		verdict = "NO"
		t.failed++
	}
	t.row(step, version, expected, printable(seen), verdict)
}

// line prints one whose cells must be equal.
func (t *fleetTable) line(step, version, expected, seen string) {
	t.judged(step, version, expected, seen, expected == seen)
}

// share prints how many of the visits were resumptions.
func (t *fleetTable) share(step string, s *seen, want band) {
	t.judged(fmt.Sprintf("%s, %d visits", step, s.visits), tls.VersionName(s.version),
		want.String(), fmt.Sprintf("%.1f %% resumed", 100*s.share()), want.holds(s.share()))
}

// witnesses prints whether all went as it should beside that: handshakes that
// failed, and visits of which client and server said different things.
func (t *fleetTable) witnesses(step string, all []*seen) {
	visits, failed, odd, first := 0, 0, 0, ""
	for _, s := range all {
		visits, failed, odd = visits+s.visits, failed+s.failed, odd+s.odd
		if first == "" {
			first = s.first
		}
	}
	count := func(n int) string {
		text := fmt.Sprintf("%d of %d visits", n, visits)
		if n > 0 {
			text += ": " + first
		}
		return text
	}
	t.judged(step+", failures", "-", "none", count(failed), failed == 0)
	t.judged(step+", witnesses differ", "-", "none", count(odd), odd == 0)
}

// band is the share of resumptions that is expected, in percent.
type band struct {
	low, high float64 // high 0: no upper end
}

func above(percent float64) band { return band{low: percent} }

func (b band) String() string {
	if b.high == 0 {
		return fmt.Sprintf("above %.0f %% resumed", b.low)
	}
	return fmt.Sprintf("%.0f to %.0f %% resumed", b.low, b.high)
}

func (b band) holds(share float64) bool {
	return 100*share > b.low && (b.high == 0 || 100*share < b.high)
}

// byChance is what a client finds that is resumed by one of n servers only: 1/n,
// give or take a quarter of it, and five standard deviations if those are
// more. For three servers and a thousand visits it is 25 to 42 %.
func byChance(n, visits int) band {
	p := 1 / float64(n)
	around := max(p/4, 5*math.Sqrt(p*(1-p)/float64(visits)))
	return band{math.Floor(100 * max(0, p-around)), math.Ceil(100 * min(1, p+around))}
}
