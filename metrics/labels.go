package metrics

// other is the value that stands for all values outside a list.
const other = "other"

// The values that labels may take. This is the whole table; New adds the
// reasons of package dpop, which the Config brings.
var (
	// endpoints are those of the public and the admin listener.
	endpoints = newList(
		"authorization", "token", "revocation", "introspection", "par", "device",
		"end_session", "userinfo", "jwks", "discovery", "session", "events",
		"backchannel_logout", "revoke_own", "forward", "admin")

	// upstreamEndpoints are those that requests to the upstream go to.
	upstreamEndpoints = newList(
		"authorization", "token", "revocation", "introspection", "par", "device",
		"end_session", "userinfo", "jwks", "discovery", "forward")

	// statusClasses are in the order of a status' first digit (Request).
	statusClasses = newList("1xx", "2xx", "3xx", "4xx", "5xx")

	// issueResults: what became of a code exchange that asked for an ORT.
	issueResults = newList(
		"ok",
		// answered without an ORT
		"none_not_allowed", "none_no_refresh_token", "none_login_too_old",
		// refused
		"refused_dpop", "refused_transaction", "refused_client", "refused_code_used", "refused_ended",
		// not decided by the gateway
		"upstream_refused", "upstream_unavailable", "store_unavailable", "bad_answer")

	// exchangeResults: what became of an ORT exchange, in the order of its checks.
	exchangeResults = newList(
		"ok",
		"invalid_token", "wrong_client", "dpop", "unauthenticated",
		"unknown_session", "ended", "idle", "absolute",
		"invalid_scope", "invalid_target",
		"upstream_invalid_grant", "upstream_refused", "upstream_unavailable",
		"busy", "store_unavailable", "bad_answer", "ended_meanwhile")

	endReasons = newList(
		"revoked", "logout", "backchannel_logout", "admin", "user_switch",
		"idle", "absolute", "grants_ended")

	storeOperations = newList(
		"add_transaction", "transaction", "drop_transaction", "add_code", "code",
		"create", "update", "session", "find", "lease", "sweep", "watch")

	// storeResults are in the order of the constants below.
	storeResults = []string{"ok", "not_found", "error"}

	stores          = newList("bolt", "redis")
	dpopAuthorities = newList("gateway", "upstream")
)

// Indices of storeResults.
const (
	storeOK = iota
	storeNotFound
	storeError
)

// list is a closed list of label values, the last of which is "other". It finds
// a value's index in a few nanoseconds: values are sorted by their length, few
// share one, and comparing a constant with itself compares addresses.
type list struct {
	values   []string
	byLength [][]int // indices of values, by their length
}

func newList(values ...string) *list {
	l := new(list)
	for _, v := range values {
		if v != other { // it comes last in any case
			l.add(v)
		}
	}
	l.add(other)
	return l
}

func (l *list) add(value string) {
	for len(l.byLength) <= len(value) {
		l.byLength = append(l.byLength, nil)
	}
	for _, i := range l.byLength[len(value)] {
		if l.values[i] == value {
			return
		}
	}
	l.byLength[len(value)] = append(l.byLength[len(value)], len(l.values))
	l.values = append(l.values, value)
}

// index returns the index of value in l.values, that of "other" where it is not
// one of them.
func (l *list) index(value string) int {
	if len(value) < len(l.byLength) {
		for _, i := range l.byLength[len(value)] {
			if l.values[i] == value {
				return i
			}
		}
	}
	return len(l.values) - 1
}

// closed returns value if it is in the list, else "other".
func (l *list) closed(value string) string { return l.values[l.index(value)] }
