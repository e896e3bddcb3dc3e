// Writes down how a server on Go's net/http, or Apache (as its CGI program), has read each
// request: one line of JSON for each, in the file that the last argument, or READINGS, names.
// Text is written byte by byte as Latin-1 has it, so that every byte survives.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

type reading struct {
	Method string `json:"method"`
	Target string `json:"target"`
	Host   string `json:"host"`
	XA     string `json:"x_a"`
	Body   string `json:"body"`
}

func latin1(text string) string {
	runes := make([]rune, 0, len(text))
	for _, b := range []byte(text) {
		runes = append(runes, rune(b))
	}
	return string(runes)
}

func (r reading) append(path string) {
	for _, text := range []*string{&r.Method, &r.Target, &r.Host, &r.XA, &r.Body} {
		*text = latin1(*text)
	}
	line, err := json.Marshal(r)
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(append(line, '\n')); err != nil {
		log.Fatal(err)
	}
}

func cgi() {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	env := os.Getenv
	reading{env("REQUEST_METHOD"), env("REQUEST_URI"), env("HTTP_HOST"), env("HTTP_X_A"), string(body)}.append(env("READINGS"))
	fmt.Print("Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nread\n")
}

func main() {
	if os.Getenv("GATEWAY_INTERFACE") != "" {
		cgi()
		return
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "the body has no end", http.StatusBadRequest)
			return
		}
		reading{r.Method, r.RequestURI, r.Host, strings.Join(r.Header["X-A"], ", "), string(body)}.append(os.Args[2])
		fmt.Fprint(w, "read\n")
	}
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(handler)))
}
