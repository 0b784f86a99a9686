// The app of tests/kubelet: it is told when to be well and how long to take,
// says when what happened to it, and is as careless at its end as many apps
// are: at SIGTERM it is gone, with whatever it was answering.
//
//	app serve [START_DELAY]   answers on 127.0.0.1:8080, after the delay
//	app pause                 keeps a pod's namespaces
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	switch {
	case len(os.Args) == 2 && os.Args[1] == "pause":
	case len(os.Args) >= 2 && os.Args[1] == "serve":
		log.Print("started")
		go serve(os.Args[2:])
	default:
		log.Fatal("usage: app serve [START_DELAY], or app pause")
	}
	<-ended
	log.Printf("told to end, in flight: %d", inFlight.Load())
}

var inFlight atomic.Int64

func serve(arguments []string) {
	if len(arguments) > 0 {
		delay, err := time.ParseDuration(arguments[0])
		if err != nil {
			log.Fatal(err)
		}
		time.Sleep(delay)
	}
	var ill atomic.Bool
	http.HandleFunc("/ill", func(_ http.ResponseWriter, _ *http.Request) { ill.Store(true) })
	http.HandleFunc("/well", func(_ http.ResponseWriter, _ *http.Request) { ill.Store(false) })
	http.HandleFunc("/status", func(answer http.ResponseWriter, _ *http.Request) {
		if ill.Load() {
			answer.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/crash", func(_ http.ResponseWriter, _ *http.Request) { log.Fatal("crashed") })
	// The pod's name and the caller's word, so that no answer is taken for another.
	pod, _ := os.Hostname()
	http.HandleFunc("/echo", func(answer http.ResponseWriter, request *http.Request) {
		inFlight.Add(1)
		defer inFlight.Add(-1)
		word := request.FormValue("word")
		takes, _ := time.ParseDuration(request.FormValue("takes"))
		if takes > 5*time.Second {
			log.Printf("asked for %s", word)
		}
		time.Sleep(takes)
		fmt.Fprintf(answer, "%s %s", pod, word)
	})
	log.Print("listening")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
