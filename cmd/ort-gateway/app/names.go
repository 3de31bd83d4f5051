package app

import (
	"slices"
	"strings"
)

// unknownNames warns of ORT_ names that mean nothing here. A misspelt name is a setting that silently does not hold.
func (l *loader) unknownNames() {
	var unknown []string
	for name := range l.values {
		if !slices.Contains(variableNames, name) && !injectedByKubernetes(name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		l.warn(printable(name), "unknown, and without effect; the nearest known name is "+nearestName(name))
	}
}

// injectedByKubernetes knows the names that "service links" give to every container of a namespace that has a Service
// called ort-…: ORT_GATEWAY_PORT, ORT_GATEWAY_PORT_8080_TCP_ADDR, ORT_GATEWAY_SERVICE_HOST, ORT_GATEWAY_SERVICE_PORT_HTTP.
func injectedByKubernetes(name string) bool {
	return strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_PORT_") ||
		strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT")
}

// nearestName gives the known name that takes the fewest edits to reach.
func nearestName(name string) string {
	if len(name) > 100 {
		name = name[:100]
	}
	return slices.MinFunc(variableNames, func(a, b string) int { return distance(name, a) - distance(name, b) })
}

// distance is the edit distance: insertions, deletions, replacements and swaps of neighbours.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
