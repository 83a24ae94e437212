package main

import (
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"time"
)

// description is an entry in JSON. There is no field for a secret: of the
// ticket and its application data only the lengths are told, of the master key
// nothing.
type description struct {
	ID             string           `json:"id"`
	Error          string           `json:"error,omitempty"`
	StoredBytes    int              `json:"stored_bytes,omitempty"`
	StoredUntil    string           `json:"stored_until,omitempty"`
	SealedBy       string           `json:"sealed_by,omitempty"`
	Protocol       string           `json:"protocol,omitempty"`
	CipherSuite    string           `json:"cipher_suite,omitempty"`
	IDContext      string           `json:"id_context,omitempty"`
	Time           string           `json:"time,omitempty"`
	TimeoutSeconds int64            `json:"timeout_seconds,omitempty"`
	Expires        string           `json:"expires,omitempty"`
	Expired        bool             `json:"expired"`
	ServerName     string           `json:"server_name,omitempty"`
	ALPN           string           `json:"alpn,omitempty"`
	Peer           *peerDescription `json:"peer_certificate,omitempty"`
	Ticket         *ticket          `json:"ticket,omitempty"`
	MaxEarlyData   uint32           `json:"max_early_data,omitempty"`
	AppDataBytes   int              `json:"ticket_appdata_bytes,omitempty"`
	Resumable      *bool            `json:"resumable,omitempty"` // absent: sealed
}

type peerDescription struct {
	Subject  string `json:"subject,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	NotAfter string `json:"not_after,omitempty"`
	Error    string `json:"error,omitempty"`
}

type ticket struct {
	Bytes               int   `json:"bytes"`
	LifetimeHintSeconds int64 `json:"lifetime_hint_seconds"`
}

func (e *entry) describe() description {
	d := description{
		ID: hex.EncodeToString(e.id), StoredBytes: e.storedBytes, SealedBy: e.sealedBy, IDContext: hex.EncodeToString(e.idContext),
	}
	if !e.storedUntil.IsZero() {
		d.StoredUntil = stamp(e.storedUntil)
		d.Expired = !time.Now().Before(e.storedUntil)
	}
	if e.err != nil {
		d.Error = e.err.Error()
	}
	s := e.session
	if s == nil {
		return d
	}
	expires, resumable := s.Time().Add(s.Timeout()), s.Resumable()
	d.Protocol = tls.VersionName(s.Version())
	d.CipherSuite = tls.CipherSuiteName(s.CipherSuite())
	d.IDContext = hex.EncodeToString(s.IDContext())
	d.Time, d.Expires = stamp(s.Time()), stamp(expires)
	d.TimeoutSeconds = int64(s.Timeout() / time.Second)
	d.Expired = !time.Now().Before(expires)
	d.ServerName, d.ALPN = s.ServerName(), s.ALPN()
	d.MaxEarlyData = s.MaxEarlyData()
	d.AppDataBytes = len(s.TicketAppData())
	d.Resumable = &resumable
	if n := len(s.Ticket()); n > 0 {
		d.Ticket = &ticket{n, int64(s.TicketLifetimeHint() / time.Second)}
	}
	switch cert, err := s.PeerCertificate(); {
	case err != nil:
		d.Peer = &peerDescription{Error: "unreadable"}
	case cert != nil:
		d.Peer = &peerDescription{
			Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), NotAfter: stamp(cert.NotAfter),
		}
	}
	return d
}

// lines are the names and values for a reader, without what is not there.
func (d description) lines() (lines [][2]string) {
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, [2]string{name, value})
		}
	}
	add("session id", d.ID)
	if d.StoredUntil != "" {
		add("stored", fmt.Sprintf("%d bytes, until %s", d.StoredBytes, d.StoredUntil))
	} else if d.StoredBytes > 0 {
		add("stored", fmt.Sprintf("%d bytes", d.StoredBytes))
	}
	add("sealed by", d.SealedBy)
	add("error", d.Error)
	add("session id context", d.IDContext)
	if d.Resumable == nil {
		return lines
	}
	add("protocol", d.Protocol)
	add("cipher suite", d.CipherSuite)
	add("time", d.Time)
	add("timeout", (time.Duration(d.TimeoutSeconds) * time.Second).String())
	add("expires", d.Expires)
	add("expired", fmt.Sprint(d.Expired))
	add("server name", d.ServerName)
	add("alpn", d.ALPN)
	if p := d.Peer; p != nil && p.Error != "" {
		add("peer certificate", p.Error)
	} else if p != nil {
		add("peer certificate", p.Subject)
		add("  issuer", p.Issuer)
		add("  not after", p.NotAfter)
	}
	if t := d.Ticket; t != nil {
		hint := time.Duration(t.LifetimeHintSeconds) * time.Second
		add("ticket", fmt.Sprintf("%d bytes, lifetime hint %v", t.Bytes, hint))
	}
	if d.MaxEarlyData > 0 {
		add("max early data", fmt.Sprint(d.MaxEarlyData))
	}
	if d.AppDataBytes > 0 {
		add("ticket application data", fmt.Sprintf("%d bytes", d.AppDataBytes))
	}
	add("resumable", fmt.Sprint(*d.Resumable))
	return lines
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
