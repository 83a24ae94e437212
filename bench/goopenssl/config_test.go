package main

import (
	"strings"
	"testing"
)

func TestTickets(t *testing.T) {
	for args, want := range map[string]int{
		"":                           0,
		"-store none":                0,
		"-store tickets":             1,
		"--store internal":           1,
		"-store=tickets":             1,
		"-store tickets -work x":     1,
		"-store tickets -store=none": 0,
		"-work echo -store":          0,
	} {
		if got := tickets(strings.Fields(args)); got != want {
			t.Errorf("%q: %d tickets, want %d", args, got, want)
		}
	}
}
