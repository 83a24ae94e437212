// Package ssl is TLS 1.2 and 1.3 by the system's libssl, OpenSSL 3, for Go
// programs that keep their sessions outside the process: in memory, in a file,
// in a store that a fleet of servers shares. A client that met one server
// resumes on any other, and after a restart too.
//
// It brings OpenSSL's session callbacks to Go. They come with a server and
// client of their own ([Listen], [Dial]), and also for an SSL_CTX that C code
// in the same process made and drives ([Attach]).
//
// # The pieces
//
// A [Context] is an SSL_CTX: certificates, what is trusted, protocol versions,
// where sessions go. [NewContext] makes it from a [Config], once; the rest of
// its life it is used, by any number of goroutines, and closed.
//
// A [Conn] is an SSL on its transport, and a [net.Conn]. [Server] and [Client]
// make one over any net.Conn, [Dial] and [Listener] over a socket. Since a
// Conn has ConnectionState, net/http serves over a Listener and fills
// Request.TLS.
//
// A [Session] is an SSL_SESSION: what it says, its encoding, and nothing that
// would show its keys by accident.
//
// The handlers, and the Cache that is the ready-made set of them, are in
// package sessioncb, which knows no C:
//
//	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: keys})
//	ctx, err := ssl.NewContext(ssl.Config{
//		Certificates: []ssl.Certificate{{ChainFile: "chain.pem", KeyFile: "key.pem"}},
//		SessionCache: cache,
//	})
//	l, err := ssl.Listen("tcp", ":443", ctx)
//	err = http.Serve(l, handler)
//
// # Resumption
//
// In TLS 1.2 the server gives each session an id, and the client offers the id
// when it comes again. In TLS 1.3 the server sends tickets after the
// handshake. A ticket is either stateless, the session itself sealed by
// OpenSSL under a key that dies with the SSL_CTX, or stateful, a key of 32
// bytes to look the session up with. Config.SessionCache chooses what works in
// both versions, across processes: session ids and stateful tickets
// (TicketsStateful, SSL_OP_NO_TICKET), one ticket a handshake, no internal
// cache. With SessionCallbacks these choices are the caller's, and NewContext
// refuses those with which a handler would never be called.
//
// A new session is announced to the NewHandler before the client can use it:
// the bytes that carry its ticket, or the server's last handshake message,
// leave when the handler returned or its time was over.
//
// A lookup runs with no C code waiting for it. The handshake is suspended at
// the ClientHello, the GetHandler is asked, and its answer goes in with the
// next step; a thousand lookups in a slow store are a thousand goroutines and
// no thread. What a handler answers is checked before libssl sees it, and
// becomes a private object. Everything that is not a good session for this
// connection is a miss, and a miss is a full handshake, never an error.
// Context.HandlerStats counts the misses by their cause.
//
// A removal, OpenSSL's word that a session is dead, comes to the RemoveHandler
// with its [sessioncb.Reason], after OpenSSL's call returned.
//
// A session is resumed only under the session id context that it was made
// under. Unless Config.SessionIDContext is set, it is derived from what decides
// whom the context trusts: change a CA certificate, the verify mode, the
// virtual host's Name, TrustLabel or TrustEpoch, and clients get a full
// handshake.
//
// Virtual hosts are Contexts of their own, chosen for each ClientHello by
// Config.GetConfigForClient. All of the chosen Config is in force; the handlers
// and the cache are those of the Context that accepted. A session of one host is
// a full handshake on another.
//
// In TLS 1.3 each resumption makes a new session with a new lifetime. A client
// cannot go on in this way for longer than Config.MaxResumptionAge, a day unless
// set, after the handshake in which it was verified.
//
// Context.Explain says in words what all this comes to.
//
// A client has its sessions from its Context's NewHandler, in TLS 1.3 while it
// reads, and offers one in ClientOptions.Session.
//
// # Early data
//
// With a session of TLS 1.3 a client may send data with its ClientHello (0-RTT):
// Conn.WriteEarlyData. It can be replayed by whoever recorded it, so a server
// takes none unless Config.MaxEarlyData is set, and that needs a GetHandler which
// takes a session out of the store as it answers with it, for the whole fleet: a
// Cache with SingleUse. Of all copies of a flight one is accepted; the others
// are full handshakes, and their early data is passed over.
//
// Read delivers early data when the handshake has finished, when it is the
// client's own and no replay. Conn.EarlyData is the way to it before that, and
// to an answer that the client has a round trip sooner: for what may be done
// twice. Conn.EarlyDataAccepted tells both sides; a client whose early data was
// refused sends it again.
//
// # Ownership
//
// Whoever gets a Context, a Conn, an Attachment or a Session from a function
// of this package closes it. An SSL_CTX lives on in C until its last
// connection is gone; Context.Wait waits for that. A forgotten Conn or Session
// is freed when the garbage collector finds it, which can be late; a forgotten
// Context or Attachment is not.
//
// A Session that a handler is called with is borrowed for the call. A
// NewHandler that returns true owns it from then on; one that returns false,
// and every other handler, uses Retain or Dup to keep it. A Session given to
// this package, in [sessioncb.Live], ClientOptions or AddSession, stays the
// caller's: the binding makes a copy. Byte slices that accessors return are
// copies.
//
// # Concurrency
//
// All methods may be called from several goroutines. One goroutine at a time
// reads from a Conn, one at a time writes, the two do not wait for each other,
// and Close ends both. Handlers are called concurrently, except that one
// Context has one RemoveHandler call at a time. A handler may call every
// method of its arguments, and may dial, serve and close; only Context.Wait,
// Attachment.Wait and Attachment.Close are not for handlers.
//
// A panic or runtime.Goexit in a handler does not reach the connection:
// see Config.OnHandlerPanic.
//
// # Deadlines
//
// Handshakes run with the first Read, Write or ConnectionState, or by
// HandshakeContext. A server's is bounded by Config.HandshakeTimeout, 10
// seconds by default, if nothing else bounds it; Accept never waits for one, so a
// silent client blocks nobody. A Listener of Listen may make handshakes before
// Accept returns their connections: see [ListenTCP]. Read, Write and the handlers that run for them
// obey the deadlines of the Conn; a GetHandler has Config.LookupTimeout at the
// most, the other two Config.StoreTimeout. Close takes 5 seconds at the most
// to send close_notify.
//
// A deadline that passed while reading can be moved, and reading goes on.
// After a Write that timed out with bytes on the way, writing is over.
//
// # What differs from crypto/tls
//
// A Context is made, checked and closed; a tls.Config is none of these. What
// crypto/tls would find in a handshake, NewContext reports.
//
// With a SessionCache a server resumes by lookup, in TLS 1.2 by session id too.
// Without one its tickets are stateless, as in crypto/tls, under a key that
// OpenSSL makes for the SSL_CTX: it is not shared and does not change.
//
// A net.Conn that is exactly a *net.TCPConn or a stream *net.UnixConn is driven
// by OpenSSL on its descriptor. Any other, also one that wraps them, is read
// and written by its methods.
//
// After a resumption from a store PeerCertificates has the leaf alone, and
// VerifiedChains is empty: an encoded session carries no chain.
//
// The method ExportKeyingMaterial of the ConnectionState does not work; that of
// the Conn does. HTTP/2 is not served: net/http does that over crypto/tls only.
// There is no renegotiation, and nothing below TLS 1.2. Early data is there, in
// both directions, see below.
//
// Close keeps the session resumable; Abort does not. A peer that vanishes
// without close_notify keeps its session too, and Read reports
// io.ErrUnexpectedEOF.
//
// # From C to Go
//
//	SSL_CTX_sess_set_new_cb      Config.SessionCallbacks, Context.SetSessionCallbacks;
//	SSL_CTX_sess_set_get_cb      for an SSL_CTX made elsewhere, Attach
//	SSL_CTX_sess_set_remove_cb
//	SSL_CTX_sess_get_new_cb      Context.SessionCallbacks; the C functions
//	SSL_CTX_sess_get_get_cb      that were there before: Attachment.Prior,
//	SSL_CTX_sess_get_remove_cb   PriorNew, PriorGet, PriorRemove
//
//	SSL_CTX_new, SSL_CTX_free    NewContext, Context.Close
//	SSL_CTX_set_*                the fields of Config
//	SSL_CTX_add_session          Context.AddSession
//	SSL_CTX_remove_session       Context.RemoveSession
//	SSL_CTX_flush_sessions       Context.FlushSessions
//	SSL_CTX_set_client_hello_cb  Config.GetConfigForClient, with SSL_set_SSL_CTX
//	SSL_CTX_set_generate_session_id  sessioncb.IDMaker
//	SSL_CTX_sess_set_cache_size  Config.SessionCacheSize, Context.SetCacheSize
//	SSL_CTX_set_timeout          Config.SessionTimeout, Context.SetSessionTimeout
//	SSL_CTX_sess_number, ...     Context.Stats, all twelve
//
//	SSL_new, SSL_free            Server, Client, Conn.Close
//	SSL_do_handshake             Conn.Handshake, Conn.HandshakeContext
//	SSL_read_ex, SSL_write_ex    Conn.Read, Conn.Write
//	SSL_shutdown                 Conn.CloseWrite, Conn.Close
//	SSL_get_error, ERR_get_error Error
//	SSL_get1_session             Conn.Session
//	SSL_set_session              ClientOptions.Session
//	SSL_session_reused           Conn.ConnectionState().DidResume
//	SSL_set_tlsext_host_name     ClientOptions.ServerName
//	SSL_new_session_ticket       Conn.NewSessionTicket
//	SSL_key_update               Conn.KeyUpdate
//
//	SSL_CTX_set_max_early_data   Config.MaxEarlyData, which sets
//	                             SSL_CTX_set_recv_max_early_data and
//	                             SSL_OP_NO_ANTI_REPLAY too
//	SSL_CTX_set_allow_early_data_cb  Config.AllowEarlyData
//	SSL_read_early_data          Conn.EarlyData, EarlyData.Read; Conn.Handshake
//	SSL_write_early_data         Conn.WriteEarlyData; EarlyData.Write
//	SSL_get_early_data_status    Conn.EarlyDataAccepted
//	SSL_SESSION_get_max_early_data  Session.MaxEarlyData
//
//	d2i_SSL_SESSION              ParseSession
//	i2d_SSL_SESSION              Session.MarshalBinary
//	PEM_*_bio_SSL_SESSION        ParseSessionPEM, Session.MarshalPEM
//	SSL_SESSION_up_ref           Session.Retain
//	SSL_SESSION_dup              Session.Dup
//	SSL_SESSION_free             Session.Close
//	SSL_SESSION_print            Session.Text, without the keys
//	SSL_SESSION_get_*            the methods of Session
package ssl
