// Points follow the picture from frame to frame, and the model pulls them to where it recognises them: TapTracker.swift
// does this where the manifest has an entry `flow`. Without it, points are where the model says.
//
// The numbers are meant to be those of Python: of `tapsdk.runtime.flow`, by pyramidal Lucas-Kanade (Lucas and Kanade
// 1981; Bouguet 2001) as in `tapkernels.reference`. NOT RUN YET, AND NOT COMPILED; examples/android/Flow.kt is the same
// and runs. Where there is a Swift compiler, a test of this project compares this file with the table
// tests/golden/flow_cases.json (tests/examples/test_phones.py).

import Foundation

private let iterations = 8
private let longest = 2.0  // pixels; no step is longer
private let flat = 1e-3  // squared gradient of a window that is too flat to be followed
private let smallest = 16  // a level with a shorter side is the last one of its pyramid
private let binomial: [Float] = [0.0625, 0.25, 0.375, 0.25, 0.0625]

/// (0, 0) is the outer corner of the top-left pixel.
struct Place {
    var x, y: Double
}

/// (height, width) of a space that positions are in.
struct Space {
    let height, width: Double
}

/// Where the picture takes a point, and by how many pixels of the frame the way back leads past its start.
struct Followed {
    let place: Place
    let missed: Double
}

/// Where a model sees a point, the probability that it is seen, and near there if it is.
struct Sighting {
    let place: Place
    let seen, near: Double
}

/// Where a point is, and how sure that is.
struct Fused {
    let place: Place
    let certainty: Double
}

/// Of a ramp: where a weight begins to change, and where it is through. Otherwise: what changes with such a weight.
/// In the manifest: [first, last]; of anything else, both are no numbers.
struct Ends: Decodable {
    let first, last: Double

    init(from decoder: Decoder) throws {
        let values = (try? [Double](from: decoder)) ?? []
        first = values.count == 2 ? values[0] : .nan
        last = values.count == 2 ? values[1] : .nan
    }

    /// From 0 to 1 between the two.
    func share(_ value: Double) -> Double { min(max((value - first) / (last - first), 0), 1) }

    /// From the first to the last.
    func at(_ share: Double) -> Double { first + (last - first) * share }
}

/// The entry of that name in the manifest: `tapsdk.artifact.manifest.FlowFusion` says what each number is.
struct FlowFusion: Decodable {
    let radius, levels: Int
    let slip, shown: Ends
    let pull: Double
    let sure, leap, apart, texture, doubt: Ends
    let hidden: String

    /// Luminance of a frame [height, width, 3] from -1 to 1, at full size and halved again and again.
    func pyramid(_ pixels: [Float], height: Int, width: Int) -> [Luminance] {
        var luminance = [Float](repeating: 0, count: height * width)
        for i in luminance.indices {
            let (red, green, blue) = (pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2])
            luminance[i] = 0.299 * red + 0.587 * green + 0.114 * blue
        }
        var images = [Luminance(values: luminance, height: height, width: width)]
        while let last = images.last, images.count < levels, min(last.height, last.width) >= smallest {
            images.append(last.halved())
        }
        return images
    }

    /// Where points go from one frame to the next, as far as the picture tells.
    ///
    /// before, after: pyramids; between two sizes nothing can be followed. xy: in `space`, as is what comes back.
    func follow(_ before: [Luminance], _ after: [Luminance], _ xy: [Place], in space: Space) -> [Followed] {
        guard before[0].height == after[0].height, before[0].width == after[0].width else {
            return xy.map { Followed(place: $0, missed: .infinity) }
        }
        let scaleX = Double(after[0].width) / space.width, scaleY = Double(after[0].height) / space.height
        let window = Window(radius: radius)
        return xy.map { place in
            let start = Place(x: place.x * scaleX, y: place.y * scaleY)
            let (end, missed) = window.thereAndBack(before, after, start)
            return Followed(place: Place(x: end.x / scaleX, y: end.y / scaleY), missed: missed)
        }
    }

    /// How well the picture around points tells their places from those beside them; 0 on an even surface.
    ///
    /// The smaller eigenvalue of the structure tensor (Shi and Tomasi 1994), on the level of the pyramid that has most.
    /// xy: in `space`.
    func textureAround(_ pyramid: [Luminance], _ xy: [Place], in space: Space) -> [Double] {
        let scaleX = Double(pyramid[0].width) / space.width, scaleY = Double(pyramid[0].height) / space.height
        let window = Window(radius: radius)
        return xy.map { place in
            let point = Place(x: place.x * scaleX, y: place.y * scaleY)
            return pyramid.indices.reduce(0.0) { max($0, window.leastStructure(pyramid[$1], placeIn($1, point))) }
        }
    }

    /// Between where the picture took a point and where the model sees it. One that joins has missed nothing yet.
    ///
    /// around: texture of the picture around the point where it was asked for.
    func fuse(_ followed: Followed, _ around: Double, _ sighting: Sighting) -> Fused {
        let (start, target) = (followed.place, sighting.place)
        let (seen, near) = (sighting.seen, sighting.near)
        let away = Place(x: target.x - start.x, y: target.y - start.y)
        let distance = hypot(away.x, away.y)
        let trust = (1 - slip.share(followed.missed)) * shown.share(seen)
        let leaps = apart.share(distance) * leap.share(seen * near)
        let share = 1 - trust * (1 - max(leaps, pull * sure.share(seen * near)))
        let agreement = 1 - apart.share((1 - share) * distance)
        let certainty = seen * pow(near, doubt.at(texture.share(around))) * agreement
        let place = Place(x: start.x + share * away.x, y: start.y + share * away.y)
        return Fused(place: place, certainty: certainty)
    }
}

/// values: [height, width]. It goes on with its outermost pixels beyond its edges.
struct Luminance {
    let values: [Float]
    let height, width: Int

    /// False for what is not a number.
    func contains(_ at: Place) -> Bool {
        at.x >= 0 && at.y >= 0 && at.x <= Double(width) && at.y <= Double(height)
    }

    /// Every second pixel, the first of them included, of a binomial filter.
    func halved() -> Luminance {
        let (halfHeight, halfWidth) = ((height + 1) / 2, (width + 1) / 2)
        var half = [Float](repeating: 0, count: halfHeight * halfWidth)
        for y in 0..<halfHeight {
            var row = [Float](repeating: 0, count: width)
            for k in 0..<5 {
                let start = clamp(2 * y + k - 2, below: height) * width
                for x in 0..<width { row[x] += binomial[k] * values[start + x] }
            }
            for x in 0..<halfWidth {
                for k in 0..<5 { half[y * halfWidth + x] += binomial[k] * row[clamp(2 * x + k - 2, below: width)] }
            }
        }
        return Luminance(values: half, height: halfHeight, width: halfWidth)
    }

    /// [2 radius + 1, 2 radius + 1] linear samples around a point.
    func sample(_ at: Place, radius: Int) -> [Float] {
        let (left, top) = ((at.x - 0.5).rounded(.down), (at.y - 0.5).rounded(.down))
        let (right, below) = (Float(at.x - 0.5 - left), Float(at.y - 0.5 - top))
        let columns = (-radius...radius + 1).map { clamp(Int(left) + $0, below: width) }
        let rows = (-radius...radius + 1).map { clamp(Int(top) + $0, below: height) * width }
        var out: [Float] = []
        out.reserveCapacity((2 * radius + 1) * (2 * radius + 1))
        for j in 0...2 * radius {
            for i in 0...2 * radius {
                let (a, b) = (columns[i], columns[i + 1])
                let upper = values[rows[j] + a] * (1 - right) + values[rows[j] + b] * right
                let lower = values[rows[j + 1] + a] * (1 - right) + values[rows[j + 1] + b] * right
                out.append(upper * (1 - below) + lower * below)
            }
        }
        return out
    }
}

/// The surroundings of a point by which it is found again.
private struct Window {
    let radius: Int
    let weights: [Double]  // [2 radius + 1, 2 radius + 1], with a sum of 1; sigma is half the radius

    init(radius: Int) {
        let bell = (-radius...radius).map { (step: Int) -> Double in
            exp(-2 * Double(step * step) / Double(radius * radius))
        }
        let sum = bell.reduce(0, +)
        self.radius = radius
        weights = bell.flatMap { down in bell.map { across in down * across / (sum * sum) } }
    }

    /// In pixels. What is missed is infinite for a point that begins or ends outside the frame.
    func thereAndBack(_ before: [Luminance], _ after: [Luminance], _ start: Place) -> (end: Place, missed: Double) {
        guard before[0].contains(start) else { return (start, .infinity) }
        let end = descend(before, after, from: start)
        guard after[0].contains(end) else { return (end, .infinity) }
        let back = descend(after, before, from: end)
        return (end, hypot(back.x - start.x, back.y - start.y))
    }

    /// Where a point of one frame is in another: matched on the smallest images first, then on larger ones.
    private func descend(_ before: [Luminance], _ after: [Luminance], from point: Place) -> Place {
        var moved = Place(x: 0, y: 0)  // pixels of the level
        for level in before.indices.reversed() {
            let start = placeIn(level, point)
            let guess = Place(x: start.x + 2 * moved.x, y: start.y + 2 * moved.y)
            let end = match(before[level], after[level], start, guess)
            moved = Place(x: end.x - start.x, y: end.y - start.y)
        }
        return Place(x: point.x + moved.x, y: point.y + moved.y)
    }

    /// Where the window of `before` around `start` is in `after`, near `guess`: Gauss-Newton on its slopes.
    private func match(_ before: Luminance, _ after: Luminance, _ start: Place, _ guess: Place) -> Place {
        let (window, slopeX, slopeY) = describe(before, start)
        let structure = structureOf(slopeX, slopeY)
        let (xx, xy, yy) = (structure.xx + flat, structure.xy, structure.yy + flat)
        let determinant = xx * yy - xy * xy
        var at = guess
        for _ in 0..<iterations {
            let now = after.sample(at, radius: radius)
            var (pullX, pullY) = (0.0, 0.0)
            for i in weights.indices {
                let difference = weights[i] * Double(window[i] - now[i])
                pullX += difference * slopeX[i]
                pullY += difference * slopeY[i]
            }
            let stepX = (yy * pullX - xy * pullY) / determinant
            let stepY = (xx * pullY - xy * pullX) / determinant
            let length = hypot(stepX, stepY)
            let share = min(1, longest / length)
            at = Place(x: at.x + share * stepX, y: at.y + share * stepY)
        }
        return at
    }

    /// The structure tensor of a window: means of the products of its slopes.
    private func structureOf(_ slopeX: [Double], _ slopeY: [Double]) -> (xx: Double, xy: Double, yy: Double) {
        var (xx, xy, yy) = (0.0, 0.0, 0.0)
        for i in weights.indices {
            xx += weights[i] * slopeX[i] * slopeX[i]
            xy += weights[i] * slopeX[i] * slopeY[i]
            yy += weights[i] * slopeY[i] * slopeY[i]
        }
        return (xx, xy, yy)
    }

    /// The smaller eigenvalue of the structure tensor around a point.
    func leastStructure(_ image: Luminance, _ at: Place) -> Double {
        // Beyond an edge by more than a window, the picture is the same everywhere.
        let beyond = Double(radius + 2)
        let x = at.x.isNaN ? 0 : min(max(at.x, -beyond), Double(image.width) + beyond)
        let y = at.y.isNaN ? 0 : min(max(at.y, -beyond), Double(image.height) + beyond)
        let (_, slopeX, slopeY) = describe(image, Place(x: x, y: y))
        let (xx, xy, yy) = structureOf(slopeX, slopeY)
        return (xx + yy - hypot(xx - yy, 2 * xy)) / 2
    }

    /// The window around a point, and how it changes along x and along y: less the mean, so that a change of light that
    /// is the same all over the window drops out.
    private func describe(_ image: Luminance, _ at: Place) -> (window: [Float], slopeX: [Double], slopeY: [Double]) {
        let around = image.sample(at, radius: radius + 1)
        let side = 2 * radius + 1, row = side + 2
        let inner = weights.indices.map { ($0 / side + 1) * row + $0 % side + 1 }
        let slopeX = inner.map { (around[$0 + 1] - around[$0 - 1]) / 2 }
        let slopeY = inner.map { (around[$0 + row] - around[$0 - row]) / 2 }
        return (inner.map { around[$0] }, lessMean(slopeX), lessMean(slopeY))
    }

    private func lessMean(_ slope: [Float]) -> [Double] {
        var mean = 0.0
        for i in slope.indices { mean += weights[i] * Double(slope[i]) }
        return slope.map { Double($0) - mean }
    }
}

/// Where a point of the frame is in a level of its pyramid.
private func placeIn(_ level: Int, _ point: Place) -> Place {
    // Halving keeps the first of every two pixels: the centre of the first one of all stays in place.
    let scale = 1 / Double(1 << level)
    return Place(x: (point.x - 0.5) * scale + 0.5, y: (point.y - 0.5) * scale + 0.5)
}

private func clamp(_ index: Int, below count: Int) -> Int { min(max(index, 0), count - 1) }
