// A Go server on the inherited socket: the usual routes, many requests at once.
//
// Build it beside its source, where it is found as the program called like the folder:
//
//	CGO_ENABLED=0 go build -o go .
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	listener, err := inherited()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: routes()}
	stopped := make(chan struct{})
	go func() {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM, os.Interrupt)
		<-term
		if err := server.Shutdown(context.Background()); err != nil {
			log.Print(err)
		}
		close(stopped)
	}()
	ready()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-stopped
}

// inherited adopts file descriptor 3, as systemd's socket activation passes it.
func inherited() (net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		return nil, fmt.Errorf("no socket was passed: LISTEN_FDS=%q", os.Getenv("LISTEN_FDS"))
	}
	file := os.NewFile(3, "http")
	defer file.Close()
	return net.FileListener(file)
}

// ready sends READY=1 to whoever asked for it.
func ready() {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		log.Print(err)
	}
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		fmt.Fprintln(w, "hello from go")
	})
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(milliseconds(r))
		fmt.Fprintln(w, "slow")
	})
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(1) })
	mux.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "VERSION") })
	return mux
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]any{
		"method": r.Method, "url": r.URL.String(), "host": r.Host, "headers": r.Header, "body": string(body),
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		log.Print(err)
	}
}

func stream(w http.ResponseWriter, r *http.Request) {
	flusher := w.(http.Flusher)
	for i := 0; i < number(r, "n", 5); i++ {
		if i > 0 {
			time.Sleep(milliseconds(r))
		}
		fmt.Fprintf(w, "chunk %d\n", i)
		flusher.Flush()
	}
}

func milliseconds(r *http.Request) time.Duration {
	return time.Duration(number(r, "ms", 100)) * time.Millisecond
}

func number(r *http.Request, name string, otherwise int) int {
	if value, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
		return value
	}
	return otherwise
}
