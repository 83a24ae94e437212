package ssl

import (
	"crypto/tls"
	"fmt"
	"strings"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// Explain says in words which resumption a client of this Context will get and
// why, a line for each subject: for a log at the start, or a page for operators.
// It tells no secret. What it says of handlers is of now.
func (c *Context) Explain() string {
	cb := c.SessionCallbacks()
	var b strings.Builder
	line := func(subject, format string, args ...any) {
		fmt.Fprintf(&b, "%s: %s\n", subject, fmt.Sprintf(format, args...))
	}
	if c.serves() {
		c.explainServer(line, cb)
	} else {
		line("server", "no: the Context has no certificate")
	}
	line("client", "%s", c.explainClient(cb))
	id := fmt.Sprintf("%x", c.sidCtx)
	if c.derived {
		line("session id context", "%s, derived from the verification, the CA certificates, Name %q, TrustLabel and TrustEpoch: sessions made under another are not resumed", id, c.name)
	} else {
		line("session id context", "%s, as configured: sessions made under another are not resumed, and who sets one for two kinds of trust lets clients cross", id)
	}
	return b.String()
}

func (c *Context) explainServer(line func(string, string, ...any), cb sessioncb.Callbacks) {
	finder, ids := c.finder(cb), ", of which there is no other kind here (SSL_OP_NO_TICKET)"
	if c.cache != nil {
		ids = ", because SessionCache is set"
	}
	stateless := "by a stateless ticket: the session itself, sealed by OpenSSL under a key of this Context, " +
		"which no other process has and which ends with it; no handler is asked for it"
	switch {
	case c.versions[0] > tls.VersionTLS12:
		line("TLS 1.2", "not spoken")
	case c.plan.none:
		line("TLS 1.2", "does not resume: Tickets is TicketsNone")
	case c.plan.stateful:
		line("TLS 1.2", "resumes by session id%s; %s", ids, finder)
	default:
		line("TLS 1.2", "resumes %s; a client that knows no tickets by session id; %s", stateless, finder)
	}
	most := fmt.Sprintf("%d a full handshake", c.plan.mostTickets())
	switch {
	case c.versions[1] == tls.VersionTLS12:
		line("TLS 1.3", "not spoken")
	case c.plan.none:
		line("TLS 1.3", "does not resume: Tickets is TicketsNone")
	case c.plan.tickets == 0:
		line("TLS 1.3", "does not resume: NumTickets says that no ticket is sent")
	case c.plan.stateful:
		line("TLS 1.3", "resumes by stateful ticket, a key of 32 bytes, %s%s; %s", most, ids, finder)
	default:
		line("TLS 1.3", "resumes %s; %s", stateless, most)
	}
	if single, ok := cb.Get.(sessioncb.SingleUser); ok && single.SingleUse() {
		line("single use", "a TLS 1.3 session is taken out of the store by the ClientHello that offers it, once in the whole fleet")
	}
	if c.plan.earlyData > 0 {
		line("early data", "up to %d bytes of a client that resumes in TLS 1.3", c.plan.earlyData)
	} else {
		line("early data", "none: MaxEarlyData is 0")
	}
	line("lifetime", "%v for each session%s", c.SessionTimeout(), c.explainAge())
	switch c.verify {
	case VerifyPeer:
		line("client certificates", "asked for and verified; on a resumption nobody is asked again, the session stands for it")
	case VerifyRequired:
		line("client certificates", "required and verified; on a resumption nobody is asked again, the session stands for it, and one without a certificate is not resumed")
	default:
		line("client certificates", "not asked for")
	}
	if c.getHost != nil {
		line("virtual hosts", "GetConfigForClient chooses the Context for each ClientHello; these lines are of the one that accepts, whose handlers and cache serve all of them")
	}
}

// finder says who finds a session again, and who else does.
func (c *Context) finder(cb sessioncb.Callbacks) string {
	mode := c.plan.mode
	var who []string
	if mode != cshim.SSL_SESS_CACHE_OFF && mode&cshim.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP == 0 {
		who = append(who, "the internal cache of this SSL_CTX, in this process alone")
	}
	switch {
	case c.cache != nil:
		who = append(who, "the SessionCache, in every process that shares its store, its keys and this session id context")
	case cb.Get != nil:
		who = append(who, "the Get handler, wherever what it looks into is shared, under this session id context")
	}
	if len(who) == 0 {
		return "nobody finds it again, so that every handshake is a full one: there is no internal cache and no Get handler"
	}
	return "it is found by " + strings.Join(who, ", then by ")
}

func (c *Context) explainAge() string {
	if c.plan.maxAge == 0 {
		return "; in TLS 1.3 each resumption begins a new one, without end"
	}
	return fmt.Sprintf("; in TLS 1.3 each resumption begins a new one, until %v after the full handshake", c.plan.maxAge)
}

func (c *Context) explainClient(cb sessioncb.Callbacks) string {
	switch {
	case c.verify != VerifyNone && !c.trusts:
		return "no: there are no CA certificates to verify a server"
	case c.cache != nil:
		return "makes full handshakes: the SessionCache is for a server's sessions"
	case cb.New == nil:
		return "resumes a session of Conn.Session given in ClientOptions; there is no New handler to be told of tickets"
	}
	return "the New handler is told of each session; one given in ClientOptions is offered to a server of the same name, if it was made under this session id context"
}
