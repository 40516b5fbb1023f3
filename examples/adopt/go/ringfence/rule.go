package ringfence

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// Rule is one thing that may be called: HTTP methods and paths, or methods of a gRPC service.
type Rule struct {
	Methods     []string `json:"methods"`
	Paths       []string `json:"paths"`
	GRPCService string   `json:"grpcService"`
	GRPCMethods []string `json:"grpcMethods"`
}

// allowed says whether a request is among the rules; without rules everything is. A path that can be written in another way
// (escapes, dots, empty segments) is not, since the service might read it in that other way.
func allowed(rules []Rule, r *http.Request) bool {
	if len(rules) == 0 {
		return true
	}
	written := r.URL.EscapedPath()
	trimmed := func(path string) string { return strings.TrimSuffix(path, "/") }
	plain := !strings.ContainsAny(written, `%\`) && trimmed(written) == trimmed(path.Clean(written))
	return plain && slices.ContainsFunc(rules, func(rule Rule) bool { return rule.allows(r.Method, written) })
}

func (rule Rule) allows(method, path string) bool {
	if rule.GRPCService != "" {
		name, found := strings.CutPrefix(path, "/"+rule.GRPCService+"/")
		return found && method == http.MethodPost && (len(rule.GRPCMethods) == 0 || slices.Contains(rule.GRPCMethods, name))
	}
	return (len(rule.Methods) == 0 || slices.Contains(rule.Methods, method)) &&
		(len(rule.Paths) == 0 || slices.ContainsFunc(rule.Paths, func(pattern string) bool { return covers(pattern, path) }))
}

// covers compares a path with an exact one, or with a prefix that ends in /*.
func covers(pattern, path string) bool {
	if prefix, found := strings.CutSuffix(pattern, "*"); found {
		return strings.HasPrefix(path, prefix)
	}
	return path == pattern
}
