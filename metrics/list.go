package metrics

import "slices"

// other is the value that stands for all values outside a list.
const other = "other"

// list is a closed list of label values, the last of which is "other". It finds
// a value's index in a few nanoseconds: few values share a slot, and comparing
// a constant with itself compares addresses.
type list struct {
	values []string
	slots  [256][]entry
}

type entry struct {
	value string
	index int // in list.values
}

// slot is where a value is looked for: length and first letter tell nearly all
// of them apart.
func slot(value string) uint8 {
	if value == "" {
		return 0
	}
	return uint8(len(value)<<4) ^ value[0]
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
	if !slices.Contains(l.values, value) {
		s := &l.slots[slot(value)]
		*s = append(*s, entry{value, len(l.values)})
		l.values = append(l.values, value)
	}
}

// index returns the index of value in l.values, that of "other" where it is not
// one of them.
func (l *list) index(value string) int {
	for _, e := range l.slots[slot(value)] {
		if e.value == value {
			return e.index
		}
	}
	return len(l.values) - 1
}

// closed returns value if it is in the list, else "other".
func (l *list) closed(value string) string { return l.values[l.index(value)] }
