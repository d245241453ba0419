"""Videos that are not written by what is tested."""

import av


def write_video(path, video, codec="ffv1", pix_fmt="bgr0", rate=25, **options):
    """Frames [T, H, W, 3] uint8, by PyAV alone; lossless unless another codec is asked for. Returns the path."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = pix_fmt
        for image in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
