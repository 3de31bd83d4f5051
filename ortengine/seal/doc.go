// Package seal makes and opens sealed bytes: what the gateway gives to others
// or lays down on disk and must later recognize as its own.
//
// A [Keyring] holds the sealing keys; its first key seals, all of them open. A
// [Box] is a keyring seen through one purpose ("ort", "credential", ...). What
// one purpose seals no other opens, because each purpose has sub-keys of its
// own. Boxes follow their keyring: after [Keyring.Replace] they use the new
// keys from the next call on, and nothing need be told.
//
// # What it promises
//
//   - Sealed bytes tell nothing but their length and the id of their key.
//   - Whoever lacks the key cannot make or change them: any flipped bit, and
//     any other additional data (aad), gives [ErrOpen].
//   - ErrOpen is the same error for every cause, so answers built from it are
//     no oracle. The one thing that time tells apart is whether the key id is
//     known, and the key id is written in the clear.
//   - Once sealed, bytes open as long as their key stays in the ring, with
//     every later version of this package (testdata/vectors.json).
//
// # What it leaves to others
//
// It does not say how old sealed bytes are, nor whether they were seen before.
// It is deliberately not deterministic: the same plaintext sealed twice gives
// different bytes. It does not bound its input; callers do.
//
// # Sealed bytes
//
//	offset  length  content
//	0       1       n, length of the key id, 1 to 32
//	1       n       key id, characters A-Z a-z 0-9 . _ -
//	1+n     24      nonce, random
//	25+n    m+16    XChaCha20-Poly1305 of m bytes of plaintext, with its tag
//
// The AEAD's additional data are exactly the caller's. The key id needs no
// place among them, since it takes part in the sub-key.
//
// # Sub-keys
//
// Each is 32 bytes of HKDF-SHA256 (RFC 5869) of the key's 32 bytes, without
// salt, with this info (| joins, the purpose comes last and may hold any byte):
//
//	"ort-gateway seal 1" | 0x00 | use | 0x00 | key id | 0x00 | purpose
//
// where use is "aead" for [Box.Seal] and [Box.Open], "mac" for [Box.MAC], and
// "export" for [Box.Subkeys]. So a MAC never tells about a sealed text, and a
// key that another package was given tells about neither.
//
// # Choices
//
//   - XChaCha20-Poly1305, not AES-GCM: 24 byte nonces may be drawn at random
//     without counting, across replicas that share a key.
//   - The key id is part of the derivation: a text cannot be moved to another
//     id, even where two ids were given the same bytes by mistake. (That
//     mistake is refused all the same: a rotation that did not rotate.)
//   - A key file that the gateway made ([LoadOrCreate]) may be open to its
//     group but not to everyone. Kubernetes, given an fsGroup, adds the
//     group's bits to all files of a volume at each mount.
package seal
