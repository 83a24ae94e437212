package ssl

// A streak is how many records a direction of a Conn moved since it let other
// goroutines run.
//
// A goroutine whose peer keeps up never waits, and has its processor of Go's until
// Go's monitor takes that away, after 10 ms. If it is in C then, as it is most of
// the time, the processor goes to another thread, and the monitor, which has found
// something to do, looks every 20 us for the next 50 times: by then the next 10 ms
// are over. That was a quarter of the time of a server that sends bulk data.
type streak int32

// Less than 10 ms, also where 16 KiB take four times as long as they do now.
const longestStreak = 128

// add counts a crossing that moved n bytes. It says whether others are to run now
// (runtime.Gosched).
func (s *streak) add(n int) (over bool) {
	if *s += streak(1 + n/maxRecord); *s < longestStreak {
		return false
	}
	*s = 0
	return true
}

const maxRecord = 16 << 10 // bytes of data in a record (SSL3_RT_MAX_PLAIN_LENGTH)
