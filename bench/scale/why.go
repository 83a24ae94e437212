package main

// Why the curves bend, as found with strace -c, perf and the numbers of other
// curves, on the machine of the results. It is a virtual one without counters of
// the processor, so that what is said of caches is what is left when all else
// stays the same.
func init() {
	active.why = []string{
		"Up, from 1 to 100 connections: a server with one sleeps before each echo (C: 4,265 epoll_wait for 4,264 echoes), and " +
			"one with 100 finds many at once (343 for 20,611; ours 477 for 18,030). Sleeping and waking is most of a lone echo.",
		"Down a little, beyond 100 or 1,000: the calls for an echo stay the same (C at 2,000: one recv and one send), but each " +
			"comes back to memory that 22 KiB of every other connection have passed through since: caches.",
		"Ours is below C throughout: its goroutine reads again before it parks (35,667 recv for 18,030 echoes, half of them " +
			"EAGAIN), and sends its answers one by one, so that the load sleeps in between and is woken by the server's send: 16 % of its " +
			"time with 32 connections (perf: sock_def_readable).",
	}
	idle.why = []string{
		"Below 1,000 connections C rises and ours falls to the value beyond: the first ones use what the 200 before them left " +
			"free in malloc, and Go's heap grows in steps that few connections share.",
		"Beyond it is flat: nothing in a connection's memory depends on how many there are.",
	}
	delays.why = []string{
		"C falls as one over the latency from 1 ms on: get_session_cb sleeps in its only thread, and one lookup holds up " +
			"every connection. It is above that where lookups of the warm-up end in the window.",
		"Ours does not bend: a lookup that waits is a goroutine without a thread, and at 100 ms 500 of them would do for 5,000 " +
			"resumptions a second, more than its processor makes. Threads are those of the runtime and do not grow with latency.",
	}
	sizes.why = []string{
		"Nearly straight to 4 KiB: an echo costs the same recv, send and wake-up whatever it carries, so four times the bytes are four times the MB.",
		"Flatter beyond: AES-GCM and the kernel's copies of each byte begin to count.",
		"Ours comes nearer to C with size, as what it costs more is per echo, not per byte.",
	}
	stores.why = []string{
		"memstore costs two to three times as much at 10^6 as at 10^3: its map and values are no longer in a cache, and each " +
			"lookup waits for memory; boltstore adds a page of its tree to each search as well.",
		"Redis does not bend: its answer is a hash away, and a lookup is system calls at both ends.",
		"boltstore's bytes fall: its file grows ahead in steps, which few sessions share.",
		"memstore's and Redis's bytes move a little with the last doubling of their hash tables.",
	}
	procs.why = []string{
		"The second processor is the load's: it brings what the load leaves of it. Handshakes compute, so two threads " +
			"of the server and the load share what two processors have; an echo waits more than it computes, and wakes somebody nearby.",
	}
	contexts.why = []string{
		"The rate does not bend: a context is found by one look into a map, and all that a handshake needs of it is its certificate and key.",
		"Memory and time of one context are the same whatever their number: each has its own copy of certificate, key, lists of " +
			"ciphers and providers' algorithms, and nothing is shared.",
	}
}
