// Command netcheck is what the pods of a node test run: a server on as many
// TCP ports as wanted, and a client that says which addresses it reaches.
//
//	netcheck serve PORT...                    answer HTTP on every port, any path, with the host name
//	netcheck dial [-timeout 1s] ADDRESS...    one line per address: "ADDRESS open NAME" or "ADDRESS closed REASON"
//	netcheck dial -until open|closed [-within 10s] ADDRESS...
//	                                          try until every address is in that state
//	netcheck resolve NAME...                  one line per name: "NAME ADDRESS..." or "NAME failed REASON"
//	netcheck read FOLDER...                   one line per file in it: "PATH SHA-256" or "PATH failed REASON"
//	netcheck post [-timeout 5s] IDENTITY URL NAME=VALUE...
//	                                          send a form with the certificate in /IDENTITY-tls, to who is known in
//	                                          /IDENTITY-trust/callees.pem: "STATUS BODY" or "failed REASON"
//	netcheck pause                            hold a pod's namespaces (the sandbox image)
//
// What it prints counts: it ends with 0 whatever it finds.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: netcheck serve|dial|resolve|read|post|pause"))
	}
	switch arguments := os.Args[2:]; os.Args[1] {
	case "serve":
		serve(arguments)
	case "dial":
		dial(arguments)
	case "resolve":
		resolve(arguments)
	case "read":
		read(arguments)
	case "post":
		post(arguments)
	case "pause":
		stopped := make(chan os.Signal, 1)
		signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)
		<-stopped
	default:
		fail(fmt.Errorf("%s: not one of serve, dial, resolve, read, post, pause", os.Args[1]))
	}
}

func serve(ports []string) {
	name, err := os.Hostname()
	if err != nil {
		fail(err)
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })
	failed := make(chan error)
	for _, port := range ports {
		go func() { failed <- http.ListenAndServe(":"+port, answer) }()
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-stopped:
	case err := <-failed:
		fail(err)
	}
}

func dial(arguments []string) {
	flags := flag.NewFlagSet("dial", flag.ExitOnError)
	timeout := flags.Duration("timeout", time.Second, "how long one attempt may take")
	until := flags.String("until", "", "try until every address is open, or closed")
	within := flags.Duration("within", 10*time.Second, "how long to try for -until")
	_ = flags.Parse(arguments)
	deadline := time.Now().Add(*within)
	started := time.Now()
	each(flags.Args(), func(address string) string {
		for {
			name, err := attempt(address, *timeout)
			reached := err == nil
			if *until != "" && reached != (*until == "open") && time.Now().Before(deadline) {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			line := fmt.Sprintf("%s open %s", address, name)
			if !reached {
				line = fmt.Sprintf("%s closed %v", address, err)
			}
			if *until != "" {
				line = fmt.Sprintf("%s after %d ms", line, time.Since(started).Milliseconds())
			}
			return line
		}
	})
}

// attempt connects and asks for the server's name, which stays empty where the
// server speaks something else than HTTP: open is what accepts a connection.
func attempt(address string, timeout time.Duration) (string, error) {
	connection, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(timeout))
	fmt.Fprint(connection, "GET / HTTP/1.0\r\n\r\n")
	answer, _ := io.ReadAll(io.LimitReader(connection, 4096))
	_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	name, _, _ := strings.Cut(body, "\n")
	return strings.TrimSpace(name), nil
}

func resolve(names []string) {
	each(names, func(name string) string {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		addresses, err := net.DefaultResolver.LookupHost(ctx, name)
		if err != nil {
			return fmt.Sprintf("%s failed %v", name, err)
		}
		return name + " " + strings.Join(addresses, " ")
	})
}

// read leaves out what begins with a dot: that is how the kubelet keeps the
// versions of mounted files.
func read(folders []string) {
	for _, folder := range folders {
		paths, err := filepath.Glob(filepath.Join(folder, "[^.]*"))
		if err != nil {
			fail(err)
		}
		each(paths, func(path string) string {
			content, err := os.ReadFile(path)
			if err != nil {
				return fmt.Sprintf("%s failed %v", path, err)
			}
			return fmt.Sprintf("%s %x", path, sha256.Sum256(content))
		})
	}
}

func post(arguments []string) {
	flags := flag.NewFlagSet("post", flag.ExitOnError)
	timeout := flags.Duration("timeout", 5*time.Second, "how long it may take")
	_ = flags.Parse(arguments)
	if flags.NArg() < 2 {
		fail(errors.New("usage: netcheck post IDENTITY URL NAME=VALUE..."))
	}
	status, body, err := send(flags.Arg(0), flags.Arg(1), flags.Args()[2:], *timeout)
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	fmt.Println(status, strings.TrimSpace(body))
}

func send(identity, address string, fields []string, timeout time.Duration) (int, string, error) {
	certificate, err := tls.LoadX509KeyPair("/"+identity+"-tls/tls.crt", "/"+identity+"-tls/tls.key")
	if err != nil {
		return 0, "", err
	}
	callees, err := os.ReadFile("/" + identity + "-trust/callees.pem")
	if err != nil {
		return 0, "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(callees)
	form := url.Values{}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		form.Add(name, value)
	}
	client := http.Client{Timeout: timeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: roots},
	}}
	answer, err := client.PostForm(address, form)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 65536))
	return answer.StatusCode, string(body), err
}

// each asks for all subjects at once and prints the answers in their order.
func each(subjects []string, ask func(string) string) {
	lines := make([]string, len(subjects))
	var group sync.WaitGroup
	for i, subject := range subjects {
		group.Go(func() { lines[i] = ask(subject) })
	}
	group.Wait()
	for _, line := range lines {
		fmt.Println(line)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "netcheck:", err)
	os.Exit(1)
}
