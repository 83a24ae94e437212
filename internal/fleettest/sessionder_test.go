package fleettest

import (
	"encoding/asn1"
	"slices"
	"testing"

	"github.com/sessioncb/openssl/ssl"
)

// sessionFields are what an encoded session has (ssl_asn1.c of OpenSSL): five
// fields, and then those that have numbers, rising.
type sessionFields struct {
	Version, Protocol int
	Suite, ID, Secret []byte
	numbered          []asn1.RawValue
}

// Numbers of fields.
const (
	timeField    = 1
	timeoutField = 2
	peerField    = 3
	verifyField  = 5
	appdataField = 18
)

// fieldsOf reads an encoded session.
func fieldsOf(t testing.TB, der []byte) (f sessionFields) {
	t.Helper()
	var all asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &all); err != nil || len(rest) > 0 {
		t.Fatalf("no session: %v", err)
	}
	rest := all.Bytes
	read := func(to any) {
		var err error
		if rest, err = asn1.Unmarshal(rest, to); err != nil {
			t.Fatalf("no session: %v", err)
		}
	}
	for _, to := range []any{&f.Version, &f.Protocol, &f.Suite, &f.ID, &f.Secret} {
		read(to)
	}
	for len(rest) > 0 {
		var v asn1.RawValue
		read(&v)
		f.numbered = append(f.numbered, v)
	}
	return f
}

// field returns the DER inside a numbered field, nil if there is none.
func (f *sessionFields) field(number int) []byte {
	for _, v := range f.numbered {
		if v.Tag == number {
			return v.Bytes
		}
	}
	return nil
}

// set puts the DER into a numbered field.
func (f *sessionFields) set(number int, der []byte) {
	v := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: number, IsCompound: true, Bytes: der}
	at := slices.IndexFunc(f.numbered, func(v asn1.RawValue) bool { return v.Tag >= number })
	switch {
	case at < 0:
		f.numbered = append(f.numbered, v)
	case f.numbered[at].Tag == number:
		f.numbered[at] = v
	default:
		f.numbered = slices.Insert(f.numbered, at, v)
	}
}

// remove takes a numbered field out.
func (f *sessionFields) remove(number int) {
	f.numbered = slices.DeleteFunc(f.numbered, func(v asn1.RawValue) bool { return v.Tag == number })
}

// encode is the inverse of fieldsOf.
func (f *sessionFields) encode(t testing.TB) []byte {
	t.Helper()
	var inside []byte
	add := func(v any) {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		inside = append(inside, b...)
	}
	for _, v := range []any{f.Version, f.Protocol, f.Suite, f.ID, f.Secret} {
		add(v)
	}
	for _, v := range f.numbered {
		v.FullBytes = nil
		add(v)
	}
	der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: inside})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func marshal(t testing.TB, s *ssl.Session) []byte {
	t.Helper()
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return der
}
