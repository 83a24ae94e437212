package ssl

import (
	"runtime/debug"

	"github.com/sessioncb/openssl/sessioncb"
)

// newIDs asks the GetHandler, if it is one that chooses ids, for those of the
// next n sessions. They are handed to C before the step that may need them, so
// that nothing inside OpenSSL asks anybody; no lock is held.
func (s *side) newIDs(n int) [][32]byte {
	m, ok := s.handlers.Load().Get.(sessioncb.IDMaker)
	if !ok {
		return nil
	}
	var ids [][32]byte
	for range n {
		id, ok := s.newID(m)
		if !ok {
			break // OpenSSL makes the others
		}
		ids = append(ids, id)
	}
	return ids
}

// newID runs on this goroutine, since an id costs no waiting.
func (s *side) newID(m sessioncb.IDMaker) (id [32]byte, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(&HandlerPanicError{Handler: "NewSessionID", Value: v, Stack: debug.Stack()})
			ok = false
		}
	}()
	return m.NewSessionID()
}
