package idp

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// backChannelWait bounds one client's answer to a back-channel call.
const backChannelWait = 15 * time.Second

// LogOut ends the login of a user that has this sid, or with an empty sid every
// login of the user, as an administrator would. Each client with a back-channel
// logout URI that took part is told (OpenID Connect Back-Channel Logout 1.0):
// of one login by its sid, of all of them once, by the user's sub alone. It
// waits for their answers; one that is not 200 or 204 is an error.
func (p *Provider) LogOut(ctx context.Context, username, sid string) error {
	var faults []error
	for _, id := range p.storage.endLogins(username, sid) {
		c := p.storage.clients[id]
		if c.BackChannelLogoutURI == "" {
			continue
		}
		if err := p.tell(ctx, c, username, sid); err != nil {
			faults = append(faults, fmt.Errorf("telling client %s of a logout: %w", id, err))
		}
	}
	return errors.Join(faults...)
}

// endLogins forgets logins and names the clients that were logged in by them.
func (s *storage) endLogins(username, sid string) (clients []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cookie, l := range s.logins {
		if l.username == username && (sid == "" || l.sid == sid) {
			delete(s.logins, cookie)
			clients = append(clients, l.clients...)
		}
	}
	slices.Sort(clients)
	return slices.Compact(clients)
}

// tell sends one logout token.
func (p *Provider) tell(ctx context.Context, c *client, username, sid string) error {
	options := (&jose.SignerOptions{}).WithType("logout+jwt").WithHeader("kid", p.storage.key.id)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: p.storage.key.key}, options)
	if err != nil {
		return fmt.Errorf("making the signer: %w", err)
	}
	claims := oidc.NewLogoutTokenClaims(p.config.Issuer, username, oidc.Audience{c.ID}, p.config.Now().Add(2*time.Minute), randomID(), sid, 0)
	payload, err := json.Marshal(claims)
	if err != nil {
		return fmt.Errorf("writing the claims: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, backChannelWait)
	defer cancel()
	form := url.Values{"logout_token": {token}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.BackChannelLogoutURI, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.outside.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("it answered %s", resp.Status)
	}
	return nil
}

// outsideClient makes the client for back-channel calls.
func outsideClient(c *tls.Config) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = c
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
