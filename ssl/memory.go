package ssl

import (
	"runtime/debug"

	"github.com/sessioncb/openssl/cshim"
)

// Objects counts what this package has alive in OpenSSL, in the whole process.
type Objects struct {
	Contexts int64 // SSL_CTX, those of Attach too
	Conns    int64 // SSL, one for each Conn that is not closed and freed yet
	Sessions int64 // references to an SSL_SESSION that a Session holds
}

// LiveObjects counts what is alive now, to see that nothing is left behind: a
// connection that is closed is counted until the last call that uses it has
// returned. It crosses into C and takes no lock. It is called concurrently.
func LiveObjects() Objects {
	g := cshim.ReadGauges()
	return Objects{Contexts: g.Contexts, Conns: g.Conns, Sessions: g.Sessions}
}

// FreeOSMemory gives back to the system what closed connections leave: Go's
// part, as debug.FreeOSMemory does, and with glibc that of OpenSSL, which malloc
// keeps for the next connections (malloc_trim). It is for a process that had many
// more connections than it will have. It takes tens of milliseconds and more,
// and what allocates in C meanwhile waits. It is called concurrently.
func FreeOSMemory() {
	debug.FreeOSMemory()
	cshim.Trim()
}
