package main

// Why the curves bend, as found with strace -c, perf and the numbers of other
// curves, on the machine of the results. It is a virtual one without counters of
// the processor: what is said of caches and pages was not seen, it is what is left
// when all that can be seen stays the same, and the text says so.
func init() {
	active.why = []string{
		"Up, from 1 to 10 connections: a server with one sleeps before each echo (strace, C: 4,265 epoll_wait for 4,264 " +
			"echoes), and one with 100 finds many at once (343 for 20,611; ours 477 for 18,030). Sleeping and waking is most of a lone echo.",
		"From 10 to 20,000 there is no bend beyond what the rounds differ by: the calls for an echo stay the same (C at 2,000 " +
			"connections: one recv and one send; ours: two and one).",
		"Ours is below C throughout: its goroutine reads again before it parks (35,667 recv for 18,030 echoes, half of them " +
			"EAGAIN), and sends its answers one by one, so that the load sleeps in between and is woken by the server's send: 16 % of its " +
			"time with 32 connections (perf: sock_def_readable). A virtual machine makes waking another processor dear.",
	}
	idle.why = []string{
		"Below 1,000 connections C rises and ours falls to the value beyond. Not looked into further: some hundred KiB that are not a " +
			"connection's, such as steps of a heap, count there.",
		"Beyond it is flat: nothing in a connection's memory depends on how many there are.",
	}
	delays.why = []string{
		"C falls as one over the latency from 1 ms on: get_session_cb sleeps in its only thread, and one lookup holds up every connection.",
		"Ours does not bend with latency: a lookup that waits is a goroutine without a thread, and at 100 ms 500 of them would do for " +
			"5,000 resumptions a second, more than its processor makes. Its threads are the runtime's and do not grow with latency.",
	}
	sizes.why = []string{
		"Nearly straight to 4 KiB: an echo costs the same recv, send and wake-up whatever it carries, so four times the bytes are about four times the MB.",
		"Flatter beyond: the copies of each byte, in the kernel and in the library, come to the top of the profile (perf: _copy_to_iter, memmove).",
		"Ours comes nearer to C with size, as what it costs more is per echo, not per byte.",
	}
	stores.why = []string{
		"memstore's lookup bends up from 10^5 on: the work is the same, a look into a map and a copy, so what grows is the time to " +
			"reach memory that no cache has any more (inferred).",
		"boltstore's rises by a third in three powers of ten, as a tree's does that gets another level (inferred).",
		"Redis's hardly bends: most of a lookup is system calls at both ends; its own part grows as memstore's does.",
		"boltstore's bytes are few sessions' share of a file that grows ahead in steps, and of pages that are not full: from 10^5 on they settle.",
		"memstore's and Redis's bytes move by a few per cent, with how full their hash tables are after the last doubling (inferred).",
	}
	procs.why = []string{
		"The second processor is the load's: it brings the server what the load leaves of it, about a tenth for handshakes and " +
			"nothing for echoes, where server and load then wait for one another on one processor.",
	}
	contexts.why = []string{
		"The rate does not bend: a context is found by one look into a map, and perf shows the same functions at 10 and at 1,000.",
		"Dips of rate and time at one place are the machine's: another run has them elsewhere, in C and ours together, as its " +
			"processors are slower by a third for a minute now and then, which no measure of calm shows.",
		"Memory of one context falls in ours, to C's and 6 KiB: what Go reads and parses for each is garbage until the collector runs " +
			"first, at a heap of 4 MiB (gctrace: it has not run when there are 100). In C it is the same whatever their number, as nothing is shared.",
	}
}
