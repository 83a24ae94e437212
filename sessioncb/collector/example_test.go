package collector_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/collector"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

func ExampleNew() {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
	if err != nil {
		log.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector.New(cache, prometheus.Labels{"site": "oslo"}))

	families, err := registry.Gather() // promhttp.HandlerFor does it for each scrape
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "sessioncb_near") {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetLabel()[0].GetValue())
		}
	}
	// Output:
	// sessioncb_near_bytes oslo
	// sessioncb_near_sessions oslo
}
