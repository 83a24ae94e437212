package report

import (
	"fmt"

	"github.com/sessioncb/openssl/bench/internal/rows"
)

// A Rule is a condition on several rows.
type Rule struct {
	Text   string   `json:"text"`
	Rows   int      `json:"rows"`             // to which it applies
	Broken []string `json:"broken,omitempty"` // by which rows, and how
}

// Holds reports whether it holds on all rows that it applies to.
func (r Rule) Holds() bool { return len(r.Broken) == 0 }

func (r *Rule) check(ok bool, format string, args ...any) {
	r.Rows++
	if !ok {
		r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
	}
}

const (
	overGoOpenSSL = 1.3
	overCryptoTLS = 1.6
)

// rules checks the rules of the issue. Ratios to another peer than the base are
// of the same round, as those to the base are. The prototype has two rules: by
// the numbers, which are of another machine, and by its design as it is
// measured here.
func rules(all []*Row) []Rule {
	floors := Rule{Text: "No row's upper quartile is below the prototype's column (prototype elsewhere)"}
	prototype := Rule{Text: "No row's upper quartile is below the prototype's median on this machine"}
	goOpenSSL := Rule{Text: fmt.Sprintf("No row's median is below %.1f times go-openssl's, full handshakes excepted", overGoOpenSSL)}
	cryptoTLS := Rule{Text: fmt.Sprintf("RSA handshakes are at least %.1f times crypto/tls", overCryptoTLS)}
	failed := Rule{Text: "Resumed means resumed, by the path that was meant, and full means full"}
	for _, r := range all {
		failed.check(len(r.Failures) == 0, "%s", r.Name)
		ours := r.Peer(rows.Ours)
		if ours == nil || len(r.Failures) > 0 {
			continue
		}
		if score := r.score(ours); r.Floor > 0 {
			if r.row.Metric.LowerIsBetter() { // the upper quartile is the better one
				floors.check(score.Q1 <= r.Floor, "%s: %s, elsewhere %s", r.Name, r.scored(score.Q1), r.goal(r.Floor))
			} else {
				floors.check(score.Q3 >= r.Floor, "%s: %s, elsewhere %s", r.Name, r.scored(score.Q3), r.goal(r.Floor))
			}
		}
		if p := r.Peer(rows.Prototype); p != nil {
			if r.row.Metric.LowerIsBetter() {
				prototype.check(p.Ours.Q1 <= 1, "%s: %s of it", r.Name, ratio(p.Ours.Q1))
			} else {
				prototype.check(p.Ours.Q3 >= 1, "%s: %s of it", r.Name, ratio(p.Ours.Q3))
			}
		}
		if p := r.Peer("goopenssl"); p != nil && !r.row.Full() {
			times := p.Ours.Median
			if r.row.Metric.LowerIsBetter() {
				times = 1 / times
			}
			goOpenSSL.check(times >= overGoOpenSSL, "%s: %s", r.Name, ratio(times))
		}
		if p := r.Peer("cryptotls"); p != nil && r.row.Full() && r.row.Cert == rows.RSA && r.row.Metric == rows.Rate {
			cryptoTLS.check(p.Ours.Median >= overCryptoTLS, "%s: %s", r.Name, ratio(p.Ours.Median))
		}
	}
	return []Rule{failed, floors, prototype, goOpenSSL, cryptoTLS}
}
