// An origin on Go's net/http, with handlers for what a proxy can get wrong. Speaks HTTP/1 and,
// with prior knowledge, HTTP/2. The paths under /control/ are for the test alone, which asks
// the origin directly: what happens when is decided there, never by time.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

var sent, received, connections, requests atomic.Int64

// A gate holds what waits at it until it is opened.
type gate struct {
	open          chan struct{}
	once          sync.Once
	waiting, left atomic.Int64
}

var gates sync.Map

func gateOf(r *http.Request) *gate {
	found, _ := gates.LoadOrStore(r.FormValue("gate"), &gate{open: make(chan struct{})})
	return found.(*gate)
}

// wait tells whether the gate was opened before the client left.
func (g *gate) wait(r *http.Request) bool {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	select {
	case <-g.open:
		return true
	case <-r.Context().Done():
		g.left.Add(1)
		return false
	}
}

func number(r *http.Request, name string) int64 {
	n, err := strconv.ParseInt(r.FormValue(name), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func fields(header http.Header) string {
	lines := []string{}
	for name, values := range header {
		for _, value := range values {
			lines = append(lines, fmt.Sprintf("%s: %s\n", name, value))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s\nHost: %s\n%s\n%s", r.Method, r.RequestURI, r.Proto, r.Host, fields(r.Header), body)
}

// download sends n bytes and counts them as the kernel takes them.
func download(w http.ResponseWriter, r *http.Request) {
	left := number(r, "n")
	if r.FormValue("length") != "" {
		w.Header().Set("Content-Length", strconv.FormatInt(left, 10))
	}
	chunk := make([]byte, 64*1024)
	for i := range chunk {
		chunk[i] = byte(i % 251)
	}
	for left > 0 {
		n, err := w.Write(chunk[:min(left, int64(len(chunk)))])
		sent.Add(int64(n))
		left -= int64(n)
		if err != nil {
			return
		}
	}
}

// upload reads everything, after its gate has opened where it has one.
func upload(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("gate") != "" && !gateOf(r).wait(r) {
		return
	}
	hash, buffer := sha256.New(), make([]byte, 64*1024)
	total := 0
	for {
		n, err := r.Body.Read(buffer)
		hash.Write(buffer[:n])
		total += n
		received.Add(int64(n))
		if err == io.EOF {
			break
		} else if err != nil {
			return
		}
	}
	fmt.Fprintf(w, "%d %s\n", total, hex.EncodeToString(hash.Sum(nil)))
}

// trailers answers with the request's trailer X-Sum and one of its own, both announced.
func trailers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum, X-Origin")
	body, _ := io.ReadAll(r.Body)
	w.Write(body)
	w.(http.Flusher).Flush()
	w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
	w.Header().Set("X-Origin", "was here")
}

func earlyHints(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("Link")
	fmt.Fprintln(w, "after the hints")
}

// refuse answers without reading the body: a client that waits for 100 never sends it.
func refuse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusExpectationFailed)
}

func status(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(int(number(r, "code")))
}

// events sends one event at once and the next when the gate opens.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "data: first\n\n")
	w.(http.Flusher).Flush()
	if gateOf(r).wait(r) {
		fmt.Fprint(w, "data: second\n\n")
	}
}

func hold(w http.ResponseWriter, r *http.Request) {
	if gateOf(r).wait(r) {
		fmt.Fprintln(w, "held")
	}
}

// hopByHop answers with headers that are for the next hop only.
func hopByHop(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "X-Hop")
	w.Header().Set("X-Hop", "for the next hop only")
	w.Header().Set("Keep-Alive", "timeout=5")
	w.Header().Set("X-End", "for the client")
	fmt.Fprintln(w, "hop")
}

func main() {
	handle := http.HandleFunc
	handle("/echo", echo)
	handle("/download", download)
	handle("/upload", upload)
	handle("/trailers", trailers)
	handle("/early-hints", earlyHints)
	handle("/refuse", refuse)
	handle("/status", status)
	handle("/events", events)
	handle("/hold", hold)
	handle("/hop-by-hop", hopByHop)
	control := func(path string, answer func(r *http.Request) any) {
		handle("/control/"+path, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, answer(r)) })
	}
	control("open", func(r *http.Request) any { g := gateOf(r); g.once.Do(func() { close(g.open) }); return "open" })
	control("waiting", func(r *http.Request) any { return gateOf(r).waiting.Load() })
	control("left", func(r *http.Request) any { return gateOf(r).left.Load() })
	control("sent", func(*http.Request) any { return sent.Load() })
	control("received", func(*http.Request) any { return received.Load() })
	control("connections", func(*http.Request) any { return connections.Load() })
	control("requests", func(*http.Request) any { return requests.Load() })

	counted := func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/control/") {
			requests.Add(1)
		}
		http.DefaultServeMux.ServeHTTP(w, r)
	}
	server := http.Server{Addr: os.Args[1], Handler: http.HandlerFunc(counted), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	server.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 2000}
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	log.Fatal(server.ListenAndServe())
}
