// A server and a client on go-spiffe, with identities from files: what no proxy is, at either end
// of mesh TLS. The files: svid.pem, svid.key, roots.pem.
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	h2 "golang.org/x/net/http2"
)

// The mesh's names for HTTP inside its TLS.
const (
	http1 = "or-h1"
	http2 = "or-h2"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 7 {
		log.Fatal("usage: spiffe-peer client|server ADDRESS SVID KEY ROOTS PEER-ID")
	}
	role, addr, peer := os.Args[1], os.Args[2], spiffeid.RequireFromString(os.Args[6])
	svid, err := x509svid.Load(os.Args[3], os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	bundle, err := x509bundle.Load(peer.TrustDomain(), os.Args[5])
	if err != nil {
		log.Fatal(err)
	}
	if role == "client" {
		config := tlsconfig.MTLSClientConfig(svid, bundle, tlsconfig.AuthorizeID(peer))
		client(addr, config)
	} else {
		config := tlsconfig.MTLSServerConfig(svid, bundle, tlsconfig.AuthorizeID(peer))
		server(addr, config)
	}
}

func client(addr string, config *tls.Config) {
	config.NextProtos = []string{http1}
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(conn, "GET /echo HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")
	if _, err := io.Copy(os.Stdout, conn); err != nil {
		log.Fatal(err)
	}
}

func server(addr string, config *tls.Config) {
	config.NextProtos = []string{http2, http1}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		id, err := spiffeid.FromURI(r.TLS.PeerCertificates[0].URIs[0])
		fmt.Fprintf(w, "hello %v %v over %s\n", id, err, r.TLS.NegotiatedProtocol)
	}
	serve := func(s *http.Server, conn *tls.Conn, h http.Handler) {
		new(h2.Server).ServeConn(conn, &h2.ServeConnOpts{BaseConfig: s, Handler: h})
	}
	s := http.Server{
		Handler:      http.HandlerFunc(answer),
		TLSConfig:    config,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){http2: serve, http1: serveOne},
	}
	log.Fatal(s.ServeTLS(listener, "", ""))
}

// serveOne answers one request in HTTP/1: net/http leaves connections whose ALPN it does not know.
func serveOne(_ *http.Server, conn *tls.Conn, h http.Handler) {
	defer conn.Close()
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		log.Print(err)
		return
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	if err := answer.Result().Write(conn); err != nil {
		log.Print(err)
	}
}
