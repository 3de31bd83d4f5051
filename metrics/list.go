package metrics

import "slices"

// other is the value that stands for all values outside a list.
const other = "other"

// list is a closed list of label values, the last of which is "other". It finds
// a value's index in a few nanoseconds: values are kept by their length, few
// share one, and comparing a constant with itself compares addresses.
type list struct {
	values   []string
	byLength [][]entry
}

type entry struct {
	value string
	index int // in list.values
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
	if slices.Contains(l.values, value) {
		return
	}
	for len(l.byLength) <= len(value) {
		l.byLength = append(l.byLength, nil)
	}
	l.byLength[len(value)] = append(l.byLength[len(value)], entry{value, len(l.values)})
	l.values = append(l.values, value)
}

// index returns the index of value in l.values, that of "other" where it is not
// one of them.
func (l *list) index(value string) int {
	if len(value) < len(l.byLength) {
		for _, e := range l.byLength[len(value)] {
			if e.value == value {
				return e.index
			}
		}
	}
	return len(l.values) - 1
}

// closed returns value if it is in the list, else "other".
func (l *list) closed(value string) string { return l.values[l.index(value)] }
