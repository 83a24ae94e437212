package main

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Each store is asked, and none keeps a value in less than its length. A bolt
// file of few sessions is mostly pages that a slow disk left unused, so the
// upper bound is loose.
func TestRun(t *testing.T) {
	var b strings.Builder
	if err := run([]string{"-n", "2000", "-sizes", "316"}, &b); err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\w+): .* \| (\d+) \|$`).FindAllStringSubmatch(b.String(), -1)
	if len(rows) != 8 {
		t.Fatalf("%d rows:\n%s", len(rows), b.String())
	}
	for _, row := range rows {
		if n, _ := strconv.Atoi(row[2]); n < 316 || n > 1<<16 {
			t.Errorf("%s: %d bytes for a value of 316", row[1], n)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range []string{"-n 0", "-sizes x", "-sizes 0", "surplus"} {
		if err := run(strings.Fields(args), new(strings.Builder)); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
