// Says of the table of cases in the first argument what tests/golden/flow_cases.py calls Answers, as JSON.
// To be compiled together with examples/ios/Flow.swift. NOT RUN YET: no Swift compiler was at hand.

import Foundation

struct Table: Decodable {
    let pictures: [String: Picture]
    let follow: [FollowCase]
    let fuse: [FuseCase]
}

struct Picture: Decodable {
    let size: [Int]
    let rows: [String]

    func pyramid(_ flow: FlowFusion) -> [Luminance] {
        let bytes = rows.flatMap { [UInt8](Data(base64Encoded: $0)!) }
        return flow.pyramid(bytes.map { Float($0) / 127.5 - 1 }, height: size[0], width: size[1])
    }
}

struct FollowCase: Decodable {
    let flow: FlowFusion
    let before, after: String
    let space: [Double]
    let points: [Point]
}

struct FuseCase: Decodable {
    let flow: FlowFusion
    let points: [Point]
}

struct Point: Decodable {
    let xy, followed: [Double?]?
    let missed: Double?
    let texture: Double
    let estimate: [Double?]
    let seen, near: Double
}

struct Moved: Encodable {
    let moved: [[Double?]]
    let missed, texture: [Double?]
    let fused: [[Double?]]
    let certainty: [Double?]
}

struct Answer: Encodable {
    let fused: [[Double?]]
    let certainty: [Double?]
}

struct Answers: Encodable {
    let follow: [Moved]
    let fuse: [Answer]
}

func place(_ xy: [Double?]) -> Place { Place(x: xy[0] ?? .nan, y: xy[1] ?? .nan) }

func number(_ value: Double) -> Double? { value.isFinite ? value : nil }

func numbers(_ at: Place) -> [Double?] { [number(at.x), number(at.y)] }

func fused(_ flow: FlowFusion, _ from: Followed, _ texture: Double, _ point: Point) -> Fused {
    flow.fuse(from, texture, Sighting(place: place(point.estimate), seen: point.seen, near: point.near))
}

let table = try JSONDecoder().decode(Table.self, from: Data(contentsOf: URL(fileURLWithPath: CommandLine.arguments[1])))
let follow = table.follow.map { (each: FollowCase) -> Moved in
    let before = table.pictures[each.before]!.pyramid(each.flow), after = table.pictures[each.after]!.pyramid(each.flow)
    let space = Space(height: each.space[0], width: each.space[1])
    let starts = each.points.map { place($0.xy!) }
    let found = each.flow.follow(before, after, starts, in: space)
    let texture = each.flow.textureAround(before, starts, in: space)
    let all = each.points.indices.map { fused(each.flow, found[$0], texture[$0], each.points[$0]) }
    return Moved(
        moved: found.map { numbers($0.place) }, missed: found.map { number($0.missed) },
        texture: texture.map { number($0) },
        fused: all.map { numbers($0.place) }, certainty: all.map { number($0.certainty) })
}
let fuse = table.fuse.map { (each: FuseCase) -> Answer in
    let all = each.points.map { (point: Point) -> Fused in
        let from = Followed(place: place(point.followed!), missed: point.missed ?? .infinity)
        return fused(each.flow, from, point.texture, point)
    }
    return Answer(fused: all.map { numbers($0.place) }, certainty: all.map { number($0.certainty) })
}
let answer = try JSONEncoder().encode(Answers(follow: follow, fuse: fuse))
print(String(decoding: answer, as: UTF8.self))
