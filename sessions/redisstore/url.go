package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	defaultPrefix = "ort:"
	maxPrefix     = 64
	maxReplicas   = 16

	// An operation is tried three times: together well under the time-out of a call
	// to the upstream.
	dialTimeout = time.Second
	ioTimeout   = 1500 * time.Millisecond
	retries     = 2
	longestWait = 256 * time.Millisecond
)

// target is what a URL names.
type target struct {
	single   *redis.Options
	failover *redis.FailoverOptions
	cluster  *redis.ClusterOptions
	prefix   string
	replicas int // wait_replicas
}

// CheckURL says what is wrong with a URL, without any part of it that could be a
// secret: a clause for people that the name of the setting goes in front of.
func CheckURL(text string) error {
	_, err := parseURL(text)
	return err
}

// parseURL takes go-redis's own forms, and three parameters more.
func parseURL(text string) (*target, error) {
	u, err := url.Parse(text)
	if err != nil { // url.Error repeats the URL, password and all
		return nil, errors.New("is no URL; a password with one of / ? # @ : % in it must be percent-encoded")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" {
		return nil, errors.New("begins neither with redis:// nor with rediss://")
	}
	if u.Hostname() == "" {
		return nil, errors.New("names no host")
	}
	if u.Fragment != "" || strings.Contains(text, "#") {
		return nil, errors.New("has a #; in a password it is written %23")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("has a query that cannot be read")
	}
	for _, address := range append([]string{u.Host}, q["addr"]...) {
		_, port, _ := strings.Cut(address[strings.LastIndexByte(address, ']')+1:], ":")
		if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) {
			return nil, errors.New("has a port that is no number from 1 to 65535")
		}
	}
	t := &target{prefix: defaultPrefix}
	roots, err := t.own(u, q)
	if err != nil {
		return nil, err
	}
	u.RawQuery = q.Encode()
	if err := t.parse(u, q); err != nil {
		return nil, err
	}
	t.tune(roots)
	return t, nil
}

// own takes our own parameters out of the query.
func (t *target) own(u *url.URL, q url.Values) (*x509.CertPool, error) {
	for name := range q {
		if len(q[name]) > 1 && name != "addr" {
			return nil, fmt.Errorf("has a parameter twice: %s", shown(name))
		}
	}
	if q.Has("key_prefix") {
		t.prefix = q.Get("key_prefix")
		if t.prefix == "" || len(t.prefix) > maxPrefix || strings.ContainsFunc(t.prefix, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`{}*?[]\`, r) }) {
			return nil, fmt.Errorf("has a key_prefix that is empty, longer than %d characters or has a space or one of {}*?[]\\ in it", maxPrefix)
		}
		q.Del("key_prefix")
	}
	if q.Has("wait_replicas") {
		n, err := strconv.Atoi(q.Get("wait_replicas"))
		if err != nil || n < 0 || n > maxReplicas {
			return nil, fmt.Errorf("has a wait_replicas that is no number from 0 to %d", maxReplicas)
		}
		t.replicas = n
		q.Del("wait_replicas")
	}
	path := q.Get("ca_file")
	if !q.Has("ca_file") {
		return nil, nil
	}
	q.Del("ca_file")
	if u.Scheme != "rediss" {
		return nil, errors.New("has a ca_file, but redis:// is without TLS: use rediss://")
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		var cause *os.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, fmt.Errorf("has a ca_file %q that cannot be read: %w", path, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("has a ca_file %q without a PEM certificate", path)
	}
	return roots, nil
}

// parse hands the rest to go-redis: Sentinel by master_name, Cluster by addr, else
// one server.
func (t *target) parse(u *url.URL, q url.Values) (err error) {
	switch {
	case q.Has("master_name"):
		if q.Get("master_name") == "" {
			return errors.New("has an empty master_name")
		}
		t.failover, err = redis.ParseFailoverURL(u.String())
		if err == nil && (t.failover.ReplicaOnly || t.failover.RouteByLatency || t.failover.RouteRandomly) {
			err = errors.New("redis: reading from replicas is not for this store: what was just written would be missing")
		}
	case q.Has("addr"):
		if strings.Trim(u.Path, "/") != "" {
			return errors.New("has a database number, and Cluster has one database alone")
		}
		t.cluster, err = redis.ParseClusterURL(u.String())
		if err == nil && (t.cluster.ReadOnly || t.cluster.RouteByLatency || t.cluster.RouteRandomly) {
			err = errors.New("redis: reading from replicas is not for this store: what was just written would be missing")
		}
	default:
		t.single, err = redis.ParseURL(u.String())
	}
	if err != nil {
		return errors.New(urlFault(err))
	}
	return nil
}

// urlFault is an error of go-redis's parsers, of those alone that repeat nothing
// secret.
func urlFault(err error) string {
	text := err.Error()
	for begin, say := range map[string]string{
		"redis: invalid database number": "has a path that is no database number, as redis://HOST:PORT/0",
		"redis: invalid URL path":        "has a path that is no database number, as redis://HOST:PORT/0",
		"redis: unable to parse addr":    "has an addr that is not HOST:PORT",
		"redis: reading from replicas":   strings.TrimPrefix(text, "redis: "),
	} {
		if strings.HasPrefix(text, begin) {
			return say
		}
	}
	if names, ok := strings.CutPrefix(text, "redis: unexpected option: "); ok {
		return "has an unknown parameter: " + shown(names)
	}
	return "has a parameter with a wrong value (times are as 1s, switches true or false)"
}

// shown is a parameter's name, unless a password may have slipped into it.
func shown(name string) string {
	name, _, _ = strings.Cut(name, ",")
	if len(name) > 40 || strings.ContainsFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		return "(its name is not shown)"
	}
	return strconv.Quote(name)
}

// tune puts our own defaults where the URL says nothing.
func (t *target) tune(roots *x509.CertPool) {
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	secure := func(c *tls.Config) {
		if c == nil {
			return
		}
		c.MinVersion = tls.VersionTLS12
		c.ServerName = "" // each server by the name that it is reached by
		if roots != nil {
			c.RootCAs = roots
		}
	}
	var c *tls.Config
	switch {
	case t.single != nil:
		o := t.single
		o.ContextTimeoutEnabled, o.DisableIdentity, o.MaintNotificationsConfig = true, true, quiet
		common(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout, &o.MaxRetryBackoff, &o.MaxRetries, &o.PipelinePoolSize)
		c = o.TLSConfig
	case t.failover != nil:
		o := t.failover
		o.ContextTimeoutEnabled, o.DisableIdentity = true, true
		common(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout, &o.MaxRetryBackoff, &o.MaxRetries, &o.PipelinePoolSize)
		c = o.TLSConfig
	case t.cluster != nil:
		o := t.cluster
		o.ContextTimeoutEnabled, o.DisableIdentity, o.MaintNotificationsConfig = true, true, quiet
		common(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout, &o.MaxRetryBackoff, &o.MaxRetries, &o.PipelinePoolSize)
		c = o.TLSConfig
	}
	secure(c)
}

func common(dial, read, write, pool, backoff *time.Duration, tries, pipelines *int) {
	for _, d := range []struct {
		at   *time.Duration
		want time.Duration
	}{{dial, dialTimeout}, {read, ioTimeout}, {write, ioTimeout}, {pool, 2 * ioTimeout}, {backoff, longestWait}} {
		if *d.at == 0 {
			*d.at = d.want
		}
	}
	if *tries == 0 {
		*tries = retries
	}
	if *pipelines == 0 {
		*pipelines = -1 // one pool for both
	}
}

func (t *target) client() redis.UniversalClient {
	switch {
	case t.failover != nil:
		return redis.NewFailoverClient(t.failover)
	case t.cluster != nil:
		return redis.NewClusterClient(t.cluster)
	}
	return redis.NewClient(t.single)
}
