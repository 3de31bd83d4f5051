package e2e

import (
	"bytes"
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// redisContent is everything that stands in a Redis, one after another; nil where it does not answer any more.
func redisContent(t *testing.T, storeURL string) []byte {
	t.Helper()
	u, err := url.Parse(storeURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for _, ours := range []string{"key_prefix", "ca_file", "wait_replicas"} {
		q.Del(ours)
	}
	u.RawQuery = q.Encode()
	var db *redis.Client
	if q.Has("master_name") {
		o, err := redis.ParseFailoverURL(u.String())
		if err != nil {
			t.Fatal(err)
		}
		db = redis.NewFailoverClient(o)
	} else {
		o, err := redis.ParseURL(u.String())
		if err != nil {
			t.Fatal(err)
		}
		db = redis.NewClient(o)
	}
	defer db.Close()
	ctx := context.Background() // the test's own has ended
	if err := db.Ping(ctx).Err(); err != nil {
		t.Logf("the content of the store was not searched: %v", err)
		return nil
	}
	var all bytes.Buffer
	keys := db.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		all.WriteString(keys.Val() + "\n")
		for _, value := range redisValue(ctx, db, keys.Val()) {
			all.WriteString(value + "\n")
		}
	}
	if err := keys.Err(); err != nil {
		t.Errorf("reading the store: %v", err)
	}
	return all.Bytes()
}

func redisValue(ctx context.Context, db *redis.Client, key string) []string {
	switch db.Type(ctx, key).Val() {
	case "string":
		return []string{db.Get(ctx, key).Val()}
	case "hash":
		var list []string
		for field, value := range db.HGetAll(ctx, key).Val() {
			list = append(list, field, value)
		}
		return list
	case "zset":
		return db.ZRange(ctx, key, 0, -1).Val()
	case "set":
		return db.SMembers(ctx, key).Val()
	case "none": // gone meanwhile
		return nil
	}
	return []string{strings.Join(db.LRange(ctx, key, 0, -1).Val(), "\n")}
}
