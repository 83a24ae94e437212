/*
 * Signs of life of a handshake, for Go's scheduler. Its monitor looks every 20 to
 * 100 us as long as it finds something to do. A call into C that it meets twice it
 * takes for one that blocks: it gives the caller's processor to another thread, and
 * goes on looking that often. When it never finds any it soon looks every 10 ms
 * only. A handshake makes one public key operation after the other in one call; a
 * call back into Go between them, which does nothing, makes another call of it for
 * the monitor, and costs 35 ns and two looks at the clock.
 */
#include "shim.h"

enum { SLOW = 20 * 1000 };     /* ns: the processor was gone, and had to be waited for */

extern void sessioncbPulse(void);

_Atomic uint64_t sc_pulses;

static void give_sign(sc_conn *c)
{
    int64_t began = sc_now();

    sessioncbPulse();
    atomic_fetch_add(&sc_pulses, 1);
    if (c != NULL && sc_now() - began > SLOW)
        c->slow_pulses++;
}

static void pulse(const SSL *ssl, int where, int ret)
{
    sc_record *r = sc_record_current();
    sc_conn *c = r != NULL ? r->conn : NULL;

    (void)ret;
    if ((where & SSL_CB_LOOP) == 0 || sc_thread_is_ours)
        return;
    /* A step that only reads the ClientHello makes no such operation, nor does a resumption of TLS 1.2. */
    if (c != NULL && c->step.in_place != SC_ALL
        && (c->version == 0 || (c->version != TLS1_3_VERSION && SSL_session_reused(ssl))))
        return;
    /* What was done last, or will be done next, takes long. */
    switch (SSL_get_state(ssl)) {
    case TLS_ST_SR_CLNT_HELLO:
    case TLS_ST_SW_SRVR_HELLO:
    case TLS_ST_SW_CERT:
    case TLS_ST_SW_KEY_EXCH:
    case TLS_ST_SW_CERT_VRFY:
    case TLS_ST_SR_CERT:
    case TLS_ST_SR_KEY_EXCH:
    case TLS_ST_SR_CERT_VRFY:
    case TLS_ST_CR_SRVR_HELLO:
    case TLS_ST_CR_CERT:
    case TLS_ST_CR_KEY_EXCH:
    case TLS_ST_CR_CERT_VRFY:
    case TLS_ST_CW_KEY_EXCH:
    case TLS_ST_CW_CERT_VRFY:
        give_sign(c);
        break;
    default:
        break;
    }
}

void sc_pulse(SSL_CTX *ctx) { SSL_CTX_set_info_callback(ctx, pulse); }
