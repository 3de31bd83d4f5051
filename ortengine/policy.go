package ortengine

import (
	"slices"
	"strings"
)

// Policy says which clients may get what. An empty list allows all, but for
// Confidential and OnlineOnly, where it names none.
type Policy struct {
	Clients      []string // may get ORTs
	Audiences    []string // audience and resource values that ORTs may be asked for
	Confidential []string // authenticated by the upstream at every refresh; "*": whoever sends authentication
	OnlineOnly   []string // get refresh tokens as ORTs alone; "*": all of Clients
}

// AllowsClient says whether a client may get ORTs.
func (p *Policy) AllowsClient(client string) bool {
	return client != "" && (len(p.Clients) == 0 || slices.Contains(p.Clients, client))
}

// AllowsAudiences says whether an authorization request may name these.
func (p *Policy) AllowsAudiences(audiences []string) bool {
	if len(p.Audiences) == 0 {
		return true
	}
	for _, a := range audiences {
		if !slices.Contains(p.Audiences, a) {
			return false
		}
	}
	return true
}

// IsConfidential says whether the upstream authenticates this client at every
// refresh, so that its ORT needs no key. Every other client is public, whatever
// it sends: some upstreams take any secret from a public client.
func (p *Policy) IsConfidential(client string, authenticates bool) bool {
	return client != "*" && slices.Contains(p.Confidential, client) || authenticates && slices.Contains(p.Confidential, "*")
}

// IsOnlineOnly says whether a client gets refresh tokens as ORTs alone. Its name
// is compared as an upstream's database may: without regard to case, white space
// around it, and what stands behind a NUL. Else SPA would get what spa does not.
func (p *Policy) IsOnlineOnly(client string) bool {
	if len(p.OnlineOnly) == 0 {
		return false
	}
	client, _, _ = strings.Cut(client, "\x00")
	client = strings.TrimSpace(client)
	is := func(name string) bool { return strings.EqualFold(strings.TrimSpace(name), client) }
	return slices.ContainsFunc(p.OnlineOnly, is) ||
		slices.Contains(p.OnlineOnly, "*") && client != "" && (len(p.Clients) == 0 || slices.ContainsFunc(p.Clients, is))
}

// HasOnlineOnly says whether there is any such client.
func (p *Policy) HasOnlineOnly() bool { return len(p.OnlineOnly) > 0 }

// MayBeOnlineOnly is IsOnlineOnly for a client as a request names it: one that
// names none may be any.
func (p *Policy) MayBeOnlineOnly(client string) bool {
	return p.IsOnlineOnly(client) || client == "" && p.HasOnlineOnly()
}

// allowsExchange says whether an exchange may name these audiences: those of the
// authorization request, or ones that are listed. Any other never reaches the
// upstream, which might burn the credential over it.
func (p *Policy) allowsExchange(asked, granted []string) bool {
	for _, a := range asked {
		if !slices.Contains(granted, a) && !slices.Contains(p.Audiences, a) {
			return false
		}
	}
	return true
}
