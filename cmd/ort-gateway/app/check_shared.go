package app

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/ort-gateway/ort-gateway/sessions/redisstore"
)

// checkStore looks at whichever store it is.
func (c *checker) checkStore(ctx context.Context) {
	if !c.settings.StoreURL.IsSet() {
		c.checkStoreFile()
		return
	}
	store, err := redisstore.Open(ctx, redisstore.Config{URL: c.settings.StoreURL.Reveal(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.own(levelFail, "store", plainText(err.Error()), "ORT_STORE_URL")
		return
	}
	defer store.Close()
	if err := store.Ready(ctx); err != nil {
		c.own(levelFail, "store", plainText(err.Error()), "ORT_STORE_URL, or the way to it; the gateway starts all the same, and is ready when Redis answers")
		return
	}
	servers, err := store.Servers(ctx)
	if err != nil {
		c.own(levelWarn, "store", "Redis answers and runs scripts, but does not say how it is set ("+plainText(err.Error())+")", "ACL SETUSER … +info, for this check alone")
		return
	}
	c.own(levelOK, "store", fmt.Sprintf("Redis %s answers and runs scripts; servers with data: %d; sessions: %d", servers[0].Version, len(servers), store.Stats().Active), "")
	for _, s := range servers {
		c.checkServer(s, store.WaitReplicas())
	}
}

// checkServer looks at what one server would forget, and when.
func (c *checker) checkServer(s redisstore.Server, wait int) {
	if older(s.Version, 6, 2) {
		c.own(levelFail, "store", "Redis "+s.Version+" is too old", "Redis 6.2 or newer, or Valkey")
	}
	switch {
	case s.Eviction == "noeviction" || s.Eviction == "":
		c.own(levelOK, "store", "Redis forgets nothing to make room (maxmemory-policy noeviction)", "")
	case s.MaxMemory == 0:
		c.own(levelWarn, "store", "maxmemory-policy is "+s.Eviction+": once maxmemory is set, Redis forgets logouts and proofs to make room", "maxmemory-policy noeviction")
	default:
		c.own(levelFail, "store", "maxmemory-policy is "+s.Eviction+": Redis forgets logouts and proofs to make room", "maxmemory-policy noeviction")
	}
	if !s.AOF {
		c.own(levelWarn, "store", "appendonly is off: after a restart of Redis what it saved last counts, or nothing, and users log in again", "appendonly yes, appendfsync everysec")
	} else {
		c.own(levelOK, "store", "Redis keeps every write in a file (appendonly yes)", "")
	}
	if s.Replicas < wait {
		c.own(levelFail, "store", fmt.Sprintf("wait_replicas is %d, and %d replicas are connected: every change is refused", wait, s.Replicas), "more replicas, or a smaller wait_replicas in ORT_STORE_URL")
	}
}

// older says whether a version is before major.minor; one that cannot be read is not.
func older(version string, major, minor int) bool {
	f := strings.SplitN(version, ".", 3)
	if len(f) < 2 {
		return false
	}
	a, err1 := strconv.Atoi(f[0])
	b, err2 := strconv.Atoi(f[1])
	return err1 == nil && err2 == nil && (a < major || a == major && b < minor)
}
