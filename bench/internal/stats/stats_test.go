package stats

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		why    string
		values []float64
		want   Quartiles
	}{
		{"no value has no median", nil, Quartiles{}},
		{"one value is all three", []float64{7}, Quartiles{7, 7, 7, 1}},
		{"two: halfway, and a quarter of the way", []float64{1, 2}, Quartiles{1.25, 1.5, 1.75, 2}},
		{"odd: the middle one", []float64{5, 1, 3}, Quartiles{2, 3, 4, 3}},
		{"even: the mean of the middle two", []float64{4, 1, 3, 2}, Quartiles{1.75, 2.5, 3.25, 4}},
		{"five: exactly on values", []float64{10, 20, 30, 40, 50}, Quartiles{20, 30, 40, 5}},
		{"one far off moves no median", []float64{1, 1, 1, 1, 1000}, Quartiles{1, 1, 1, 5}},
		{"what is not finite is left out", []float64{math.NaN(), 3, math.Inf(1)}, Quartiles{3, 3, 3, 1}},
	} {
		before := append([]float64(nil), c.values...)
		if d := cmp.Diff(c.want, Of(c.values), cmpopts.EquateApprox(0, 1e-12)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.why, d)
		}
		if d := cmp.Diff(before, c.values, cmpopts.EquateNaNs()); d != "" {
			t.Errorf("%s: Of changed its argument\n%s", c.why, d)
		}
	}
}

func TestMean(t *testing.T) {
	if got := Mean(nil); got != 0 {
		t.Errorf("of none: %v", got)
	}
	if got := Mean([]float64{1, 2, 6}); got != 3 {
		t.Errorf("of 1, 2, 6: %v", got)
	}
}
