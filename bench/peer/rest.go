package peer

import (
	"encoding/json"
	"runtime"
	"runtime/debug"
)

// rest is the answer to "rest": one line of JSON, after what memory Go has to
// spare went back to the system.
func rest(s *Server) []byte {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	answer := struct {
		Live map[string]int64 `json:"live"`
		Heap uint64           `json:"heap"`
	}{Heap: m.HeapAlloc}
	if s.Live != nil {
		answer.Live = s.Live()
	}
	b, err := json.Marshal(answer)
	if err != nil {
		panic(err) // integers always encode
	}
	return append(b, '\n')
}
