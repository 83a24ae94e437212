package sessioncb

import "strings"

// A RemovalSet says which removals that OpenSSL reports take the session out
// of the Store too. It is a value: With and Without return changed copies.
// The zero RemovalSet in CacheOptions means DefaultRemovals.
type RemovalSet struct {
	chosen        bool   // distinguishes NoRemovals from the zero value
	before, after uint32 // by Reason, for HandshakeDone false and true
}

// DefaultRemovals is what a Cache uses unless told otherwise:
//
//	Explicit, SingleUse   delete
//	Faulty                deletes once the handshake was done; before that
//	                      anybody who saw the session id could delete it
//	all others            do not delete: the session is good, or expires by
//	                      itself, or its end says nothing of the fleet's copy
func DefaultRemovals() RemovalSet {
	return NoRemovals().With(Explicit, SingleUse).WithDone(Faulty)
}

// NoRemovals deletes nothing: sessions stay in the Store until they expire.
func NoRemovals() RemovalSet { return RemovalSet{chosen: true} }

// With adds reasons, whether or not a handshake was done.
func (s RemovalSet) With(reasons ...Reason) RemovalSet {
	s.chosen = true
	s.before |= bits(reasons)
	s.after |= bits(reasons)
	return s
}

// WithDone adds reasons for removals after the handshake was done only.
func (s RemovalSet) WithDone(reasons ...Reason) RemovalSet {
	s.chosen = true
	s.after |= bits(reasons)
	return s
}

// Without takes reasons out.
func (s RemovalSet) Without(reasons ...Reason) RemovalSet {
	s.chosen = true
	s.before &^= bits(reasons)
	s.after &^= bits(reasons)
	return s
}

// Has says whether this removal deletes. The zero RemovalSet has none.
func (s RemovalSet) Has(r Removal) bool {
	set := s.before
	if r.HandshakeDone {
		set = s.after
	}
	return set&bits([]Reason{r.Reason}) != 0
}

// String lists the reasons: "explicit, faulty (handshake done), single use".
func (s RemovalSet) String() string {
	var list []string
	for r := range Reason(len(reasons)) {
		switch bit := bits([]Reason{r}); {
		case s.before&bit != 0:
			list = append(list, r.String())
		case s.after&bit != 0:
			list = append(list, r.String()+" (handshake done)")
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, ", ")
}

// bits ignores reasons out of range.
func bits(list []Reason) (set uint32) {
	for _, r := range list {
		if r >= 0 && int(r) < len(reasons) {
			set |= 1 << r
		}
	}
	return set
}
