// Package sessioncb holds the session callbacks of OpenSSL 3 as Go sees them,
// and a Cache that keeps sessions in a Store outside the process, so that a
// client that met one server resumes on any other, and after a restart.
//
// The package is pure Go and knows no C: whoever writes a Store or a handler
// builds and tests it with CGO_ENABLED=0. Package ssl joins it to libssl.
//
// # A cache in three lines
//
//	keys, err := sessioncb.LoadKeyFile("/etc/myserver/session.keys")
//	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: keys})
//	config := ssl.Config{SessionCache: cache} // and the certificate
//
// The store is one of the packages beside this one (memstore, livestore,
// boltstore, redisstore, memcachestore) or
// any other Store; package storetest says whether a Store is a good one.
//
// # What the Cache does
//
// It encodes each new session, seals it, and has it stored before the client
// can use it. It looks a session up when a client offers its id. It deletes a
// session when OpenSSL holds it for dead and the reason is a good one
// (RemovalSet).
//
// Availability fails open: a store that is slow, full, broken or panics costs
// a full handshake, never a connection. A lookup takes LookupTimeout at most,
// a write PutTimeout, even in a store that ignores its context, and a store
// that hangs ties up MaxCalls lookups and as many writes. Calls of a kind that
// failed in a row are not made for a while (BreakerFailures), lookups of one id
// at the same time are one call, and what is not there is not asked for twice in
// a second (MissTTL). Identity fails closed: a
// session is given to OpenSSL only if it was sealed with a key of the ring,
// for the id that was asked for, under the session id context of the
// connection, and is not over. All else is a miss, counted in Stats under its
// own name.
//
// # A store that is near
//
// A LiveStore (package livestore) keeps the sessions of one process themselves,
// and not their bytes: they are duplicated, where others are opened and decoded,
// which with a client's certificate in them takes a hundred times as long. There
// are no keys and nothing to wait for, so a Cache in front of one has few options.
//
// # A store that is far
//
// NearBytes keeps sealed values in memory, WriteBehind takes writes out of the
// handshake, TagIDs lets the Cache refuse ids that strangers made up without
// asking anybody, and SingleUse takes a session of TLS 1.3 out of the store as
// it is found, so that it is used once in the whole fleet. What this process
// stored it finds, and what it removed it does not, from the moment that
// NewSession or RemoveSession has returned, and before that.
//
// A session ends by the clock of the process that looks it up (Now), and by
// OpenSSL's: a clock that is ahead by a minute refuses it a minute sooner; one
// that is behind leaves it to OpenSSL, which goes by the same wrong clock, and
// to the store, which counts the lifetime that was left at the Put.
//
// # Keys
//
// A stored session is as good as a client's password: whoever reads it can
// resume it, and read recorded connections of TLS 1.2; whoever can write one
// can be any client. So the Cache seals sessions with AES-256-GCM, and asks
// for a KeyRing. A fleet shares the ring as a key file (WriteKeyFile,
// LoadKeyFile); a process with its store in memory uses ProcessKey. Keys
// change on a live ring (KeyRing.Rotate, KeyRing.Follow, FollowKeyFile). A store that C servers write too
// needs InsecurePlaintext.
//
// Each value has a key of its own, derived from the ring's and 32 random
// bytes, so there is no number of sessions after which keys must change.
//
// # Handlers of your own
//
// Callbacks takes the three handlers one by one, for a policy that the Cache
// does not have. The rules of ownership stand with NewHandler, GetHandler and
// RemoveHandler; none of them needs a C reference to be counted by hand.
package sessioncb
