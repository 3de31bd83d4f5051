// Package rewrite changes single values in the messages that pass the gateway
// and leaves every other byte as it came.
//
// It knows three kinds of text:
//
//   - [Form]: a query or an application/x-www-form-urlencoded body, as a list
//     of pairs in their order.
//   - [Object]: one JSON object, such as a token answer or a discovery
//     document, of which only the members that are set or removed change.
//   - a scope value ([HasScope], [AddScope], [RemoveScope]).
//
// It decides nothing: which parameter must go, what a duplicate means and what
// a client is told is up to the caller. Nothing here does I/O. The size of what
// is parsed is bounded by the caller, the number of pairs and members and the
// depth of JSON are bounded here. Values of these types are for one goroutine.
//
// Names are compared as a receiver reads them, after decoding: %73cope is scope
// and "refresh\u005ftoken" is refresh_token. Otherwise a spelling would slip
// past the gateway and still mean the same to the upstream.
//
// # Choices
//
//   - Only & separates pairs (WHATWG URL, 5.1). A ; is part of a value: browsers
//     and today's servers read it so, and a second separator would cut values
//     that carry one. An upstream that still splits there can be given a second
//     parameter behind our back; [Form.Lookalike] finds those.
//   - A bad escape (%zz, a lone %) is kept and stands for itself, and
//     [ParseForm] reports it. Two receivers may read it in two ways.
//   - A Form keeps empty pairs (&&) and pairs without =; they count against the
//     limit. An empty pair is no parameter; a pair without = has the value "".
//   - Values that are written are encoded as WHATWG URL 5.2 says: a space is +,
//     all but letters, digits and *-._ is %XX.
//   - Of JSON members with the same name the last one is read, as JavaScript
//     and Go do; setting or removing one removes all of that name.
//   - Bytes in a JSON string that are no UTF-8 pass as they are and are read as
//     U+FFFD, as browsers and encoding/json do. A byte order mark in front of
//     an object is refused (RFC 8259 section 8.1).
//   - Scopes are separated by any white space when read, by one space when
//     written: RFC 6749 section 3.3 knows the space alone, many servers split at
//     any, and a tab must not hide a scope from us.
package rewrite
