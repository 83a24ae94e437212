// Package stats reduces the rounds of a row to what is printed of them.
package stats

import (
	"math"
	"slices"
)

// Quartiles are a median and the quartiles around it. N is how many values
// they are of; with N 0 the others are 0 and mean nothing.
type Quartiles struct {
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
	N      int     `json:"n"`
}

// Of returns the quartiles of values, which it does not change. Values that
// are not finite are left out. Between two values it interpolates (R's type
// 7), so that the median of an even number is the mean of the middle two.
func Of(values []float64) Quartiles {
	v := make([]float64, 0, len(values))
	for _, x := range values {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			v = append(v, x)
		}
	}
	if len(v) == 0 {
		return Quartiles{}
	}
	slices.Sort(v)
	return Quartiles{Q1: at(v, 0.25), Median: at(v, 0.5), Q3: at(v, 0.75), N: len(v)}
}

// Mean is 0 for no values.
func Mean(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sum := 0.0
	for _, x := range values {
		sum += x
	}
	return sum / float64(len(values))
}

// at is the quantile p of sorted, which holds at least one value.
func at(sorted []float64, p float64) float64 {
	h := p * float64(len(sorted)-1)
	i := int(h)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (h-float64(i))*(sorted[i+1]-sorted[i])
}
