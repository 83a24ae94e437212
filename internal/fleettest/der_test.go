package fleettest

import (
	"encoding/asn1"
	"fmt"
	"regexp"
	"time"
)

// shiftTime moves the time at which an encoded session was made: the element
// with the context tag 1 of SSL_SESSION_ASN1.
func shiftTime(der []byte, by time.Duration) ([]byte, error) {
	var elements []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &elements); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("not a session: %w", err)
	}
	for i, e := range elements {
		if e.Class != asn1.ClassContextSpecific || e.Tag != 1 {
			continue
		}
		var made int64
		if _, err := asn1.Unmarshal(e.Bytes, &made); err != nil {
			return nil, fmt.Errorf("the session's time: %w", err)
		}
		inner, err := asn1.Marshal(made + int64(by/time.Second))
		if err != nil {
			return nil, err
		}
		elements[i] = asn1.RawValue{Class: e.Class, Tag: e.Tag, IsCompound: true, Bytes: inner}
		return asn1.Marshal(elements)
	}
	return nil, fmt.Errorf("a session without a time")
}

var addresses = regexp.MustCompile(`127\.0\.0\.1:\d+(->127\.0\.0\.1:\d+)?`)

// withoutAddresses makes errors of the same kind the same.
func withoutAddresses(s string) string { return addresses.ReplaceAllString(s, "ADDR") }
