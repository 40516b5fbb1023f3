// This program is a service that uses what Ringfence delivers to it, as a server and as a client.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"ringfence.dev/examples/adopt/ringfence"
)

const usage = `usage: adopt serve [flags]       answers with who called
       adopt call [flags] [URL]  calls, and prints status and body; without URL, for each line of standard input
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "adopt:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 || (arguments[0] != "serve" && arguments[0] != "call") {
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("say serve or call")
	}
	flags := flag.NewFlagSet("adopt "+arguments[0], flag.ExitOnError)
	files := flags.String("files", "/var/run/ringfence", "folder below which tls, trust and signing-key are mounted")
	every := flags.Duration("every", 2*time.Second, "how often to look for changed files")
	port := flags.Int("port", 8443, "serve: port of the pod, as access.json names it")
	listen := flags.String("listen", ":8443", "serve: address to listen on")
	to := flags.String("to", "", "call: address to connect to, in place of the URL's host")
	_ = flags.Parse(arguments[1:])

	workload, err := ringfence.Open(*files)
	if err != nil {
		return err
	}
	go workload.Follow(ctx, *every, func(err error) {
		if err != nil {
			slog.Error("the delivered files can't be used; what was read before stays in use", "error", err)
			return
		}
		slog.Info("took up what was delivered")
	})
	if arguments[0] == "serve" {
		return serve(ctx, workload, *port, *listen)
	}
	client := workload.Client(dialTo(*to))
	if flags.NArg() > 0 {
		answer, err := call(ctx, client, flags.Arg(0))
		if err == nil {
			fmt.Println(answer)
		}
		return err
	}
	return callEach(ctx, client)
}

func serve(ctx context.Context, workload *ringfence.Workload, port int, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := workload.Server(port, http.HandlerFunc(whoCalled))
	defer context.AfterFunc(ctx, func() { _ = server.Shutdown(context.Background()) })()
	slog.Info("serves", "address", listener.Addr().String())
	if err := server.ServeTLS(listener, "", ""); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func whoCalled(answer http.ResponseWriter, request *http.Request) {
	admitted := ringfence.AdmittedOf(request.Context())
	said := map[string]any{"caller": admitted.SPIFFEID}
	if admitted.Claims != nil && admitted.Claims.OnBehalfOf != nil {
		said["onBehalfOf"] = admitted.Claims.OnBehalfOf
	}
	answer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(answer).Encode(said)
}

// callEach calls for each line of standard input, and prints one line for each.
func callEach(ctx context.Context, client *http.Client) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := call(ctx, client, lines.Text())
		if err != nil {
			answer = "failed: " + err.Error()
		}
		fmt.Println(answer)
	}
	return lines.Err()
}

func call(ctx context.Context, client *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprint(response.StatusCode, " ", strings.TrimSpace(string(body))), err
}

func dialTo(address string) ringfence.Dial {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if address == "" {
		return dialer.DialContext
	}
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	}
}
