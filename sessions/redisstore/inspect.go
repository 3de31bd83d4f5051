package redisstore

import (
	"bufio"
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Server is what one Redis server says of itself.
type Server struct {
	Version   string // redis_version
	Eviction  string // maxmemory_policy
	MaxMemory int64  // bytes, 0: no bound
	AOF       bool   // it keeps a file of every write (appendonly)
	Replicas  int    // that are connected
}

// Servers asks every server that holds data. It needs the right to INFO.
func (s *Store) Servers(parent context.Context) (list []Server, err error) {
	if err := s.begin(parent); err != nil {
		return nil, err
	}
	ctx, cancel := s.within(parent)
	defer cancel()
	var mu sync.Mutex
	err = s.masters(ctx, func(ctx context.Context, node *redis.Client) error {
		text, err := node.Info(ctx).Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		list = append(list, serverOf(text))
		return nil
	})
	return list, s.fault(parent, err)
}

func serverOf(info string) (v Server) {
	lines := bufio.NewScanner(strings.NewReader(info))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch name {
		case "redis_version":
			v.Version = value
		case "maxmemory_policy":
			v.Eviction = value
		case "maxmemory":
			v.MaxMemory, _ = strconv.ParseInt(value, 10, 64)
		case "aof_enabled":
			v.AOF = value == "1"
		case "connected_slaves":
			v.Replicas, _ = strconv.Atoi(value)
		}
	}
	return v
}

// WaitReplicas is how many copies an acknowledged change has: wait_replicas of the
// URL.
func (s *Store) WaitReplicas() int { return s.wait }
