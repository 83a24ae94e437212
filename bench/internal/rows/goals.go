package rows

// A Goal is what ours is to reach, and what a 450-line prototype reached
// before, on another machine and beside another C peer: the floor, below which
// no quartile is to be. 0 is none of that kind. Both are ratios to the row's
// base, or in the metric's unit where that is not relative.
type Goal struct {
	Want  float64
	Floor float64
}

// goals is the one table of them, from the issue "Fast".
var goals = map[string]Goal{
	"resume-1.2-der":      {Want: 0.95, Floor: 0.89},
	"resume-1.2-ref":      {Want: 1.05}, // of C with a store of bytes; C's own references are at about 1.11
	"resume-1.3-der":      {Want: 0.95, Floor: 0.91},
	"resume-1.3-ref":      {Want: 0.95},
	"full-ecdsa-1.2":      {Want: 0.95, Floor: 0.86},
	"full-ecdsa-1.3":      {Want: 0.95, Floor: 0.93},
	"full-rsa-1.2":        {Want: 0.95, Floor: 0.90},
	"full-rsa-1.3":        {Want: 0.95, Floor: 0.88},
	"echo-32":             {Want: 0.95, Floor: 0.86},
	"echo-1":              {Want: 0.90, Floor: 0.69},
	"down-8":              {Want: 1.00, Floor: 1.01},
	"up-8":                {Want: 0.97, Floor: 0.91},
	"idle":                {Want: 14, Floor: 17},    // KiB per connection
	"p99-full-1.3":        {Want: 1.0, Floor: 0.95}, // of C's
	"parked-lookups":      {Want: 1 + 8, Floor: 6},  // threads; GOMAXPROCS is 1 on the server's one processor
	"resume-1.2-mtls-der": {Want: 0.95},
	"resume-1.2-mtls-ref": {Want: 0.95},
	"resume-1.3-mtls-ref": {Want: 0.95},
}

// Goal is the row's, zero if it has none.
func (r *Row) Goal() Goal { return goals[r.Name] }

// Met reports whether a median is at least as good as the goal.
func (r *Row) Met(median float64) bool {
	if r.Metric.LowerIsBetter() {
		return median <= r.Goal().Want
	}
	return median >= r.Goal().Want
}
